"""Gives tests of locks a clock that only they move, and neighbours who act while others wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from infra.locking.root_lock import RootLock
from infra.store.storage import Storage


@dataclass
class Clock:
    """Clock that stands still but for those who wait; each may be followed by what others do."""

    now: float = 1_000.0
    others: list[Callable[[], object]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        """Let time pass, and the next of the others act."""
        self.now += seconds
        if self.others:
            self.others.pop(0)()


def make_lock(storage: Storage, name: str, clock: Clock) -> RootLock:
    return RootLock(storage, name, clock=clock, pause=clock.pause)


def take(lock: RootLock, *, wait: bool = True) -> list[str]:
    """Acquire a lock and return what was said."""
    said: list[str] = []
    lock.acquire(wait=wait, note=said.append)
    return said
