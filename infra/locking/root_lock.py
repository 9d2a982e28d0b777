"""Lets one run write below a storage root, while others wait for it or are refused.

The root's lock file says who holds it. It is written by compare-and-swap only
(:meth:`~infra.store.storage.Storage.swap`), so of two who try one gets it, on S3 too. The holder
renews it; it is taken from one whose process has ended on this machine, or who has not renewed it
while somebody watched for minutes: clocks of different machines are never compared.

A holder who only stood still is fenced: each file that says that something is done is written
after a look at the lock, and only over what was there before that look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from infra.errors import (
    ConfigError,
    InterruptedRun,
    OpenCharacterError,
    Problem,
    RootBusy,
    RootLost,
    TransientError,
)
from infra.locking.holder import Holder, read_holder, tell_time
from infra.store.storage import FileVersion, Storage

LOCK_FILE = "opencharacter-lock.json"
BEAT_S = 20.0
STALE_S = 180.0
_GLANCE_S = 2.0
_FRESH_S = 2 * BEAT_S

OtherRuns = Literal["wait", "refuse", "ignore"]


class RootLock:
    """Hold of a storage root by this process; fence of what it writes.

    ``clock`` counts seconds, ``pause`` waits so many. ``on_loss`` is called once, in a thread of
    the lock's own, when another run has taken over.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._clock, self._pause, self._on_loss = clock, pause, on_loss
        self._mine = Holder.introduce(name)
        self._seen_s = clock()
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="root lock", daemon=True)
        self.lost: RootLost | None = None

    def acquire(
        self,
        *,
        wait: bool,
        note: Callable[[str], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the root, after whoever holds it.

        ``note`` is told once whom it waits for, and who was taken over. Raises :class:`RootBusy`
        instead of waiting unless ``wait``, :class:`InterruptedRun` once ``stopped``, and
        :class:`OSError` where the storage pays no heed to the conditions of a write.
        """
        seen: FileVersion | None = None
        since = began = self._clock()
        waited_for: str | None = None
        while True:
            try:
                found = self._storage.read_version(LOCK_FILE)
            except TransientError:
                if waited_for is None:
                    raise
                seen, found = None, None  # who cannot be read may well have renewed it
            else:
                holder = read_holder(found.data) if found else None
                if found != seen:
                    seen, since = found, self._clock()
                if holder is None or holder.ended or self._is_dead(holder, since):
                    if self._swap(found):
                        break
                elif not wait:
                    raise RootBusy(
                        f"{self._storage.root} is held by {holder.describe()}. Run this when that "
                        "has ended; run.other_runs=wait waits for it."
                    )
                elif waited_for != holder.id:
                    waited_for = holder.id
                    note(f"waits: {self._storage.root} is held by {holder.describe()}")
            if stopped():
                raise InterruptedRun(f"stopped while it waited for {self._storage.root}")
            self._pause(_GLANCE_S)
        if self._storage.swap(LOCK_FILE, None, _encode(self._mine) + b"\n"):
            raise OSError("it writes over a file that was to be absent")
        if holder is not None and not holder.ended:
            note(f"took over from {holder.describe()}, which has ended or does not answer")
        elif waited_for is not None:
            note(f"goes on after waiting for {self._clock() - began:.0f} s")

    def start_beating(self) -> None:
        """Renew the hold from now on, in a thread."""
        self._beating.start()

    def renew(self) -> None:
        """Show that this process lives; raises :class:`RootLost` if it was thought dead."""
        found = self._confirm()
        mine = self._mine.model_copy(update={"beat": self._mine.beat + 1})
        if self._storage.swap(LOCK_FILE, found, _encode(mine)):
            self._mine = mine

    def check(self) -> None:
        """Raise :class:`RootLost` if the root is lost; looks it up after a silence only."""
        if self.lost is not None:
            raise self.lost
        if self._clock() - self._seen_s > _FRESH_S:
            self.confirm()

    def confirm(self) -> None:
        """Look up the lock; raises :class:`RootLost` if another run has it."""
        self._confirm()

    def release(self) -> None:
        """Give the root back, if it is still held; what cannot be written is left to others."""
        self._ended.set()
        if self._beating.is_alive():
            self._beating.join()
        with suppress(OpenCharacterError, OSError):
            found = self._confirm()
            done = self._mine.model_copy(update={"ended": tell_time()})
            self._storage.swap(LOCK_FILE, found, _encode(done))

    def _confirm(self) -> FileVersion:
        if self.lost is not None:
            raise self.lost
        now = self._clock()
        found = self._storage.read_version(LOCK_FILE)
        if found is None:  # somebody has removed the file: the first to write it has the root
            self._storage.swap(LOCK_FILE, None, _encode(self._mine))
            found = self._storage.read_version(LOCK_FILE)
        holder = read_holder(found.data) if found else None
        if found is None or holder is None or holder.id != self._mine.id:
            by = holder.describe() if holder else "somebody"
            self.lost = RootLost(
                f"{self._storage.root} was taken over by {by}: this process gave no sign of life "
                f"for {STALE_S:.0f} s or more. It writes nothing any more; all that was committed "
                "is kept, and the same command goes on with it."
            )
            raise self.lost
        self._seen_s = now
        return found

    def _is_dead(self, holder: Holder, since: float) -> bool:
        return holder.is_gone() or self._clock() - since >= STALE_S

    def _swap(self, found: FileVersion | None) -> bool:
        self._seen_s = self._clock()
        return self._storage.swap(LOCK_FILE, found, _encode(self._mine))

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.renew()
            except RootLost:
                self._on_loss()
                return
            except (OpenCharacterError, OSError):  # the next beat tries again
                continue


@contextmanager
def hold_root(
    storage: Storage,
    name: str,
    other_runs: OtherRuns,
    *,
    note: Callable[[str], None],
    stop: threading.Event,
) -> Iterator[None]:
    """Hold a root for the block; what the storage writes in it is fenced.

    ``stop`` ends the wait, and is set when the root is lost: the block's own end is then
    :class:`RootLost`. With ``ignore`` nothing is held.
    """
    if other_runs == "ignore":
        yield
        return
    lock = RootLock(storage, name, on_loss=stop.set)
    try:
        lock.acquire(wait=other_runs == "wait", note=note, stopped=stop.is_set)
    except OSError as error:
        what = f"cannot be kept for one run at a time: {error}"
        todo = "set run.other_runs: ignore, and start one run at a time"
        raise ConfigError(Problem(storage.root, what, todo)) from error
    storage.fence = lock
    lock.start_beating()
    try:
        yield
    except InterruptedRun as error:
        if lock.lost is None:
            raise
        raise lock.lost from error
    finally:
        lock.release()
        storage.fence = None


def _encode(holder: Holder) -> bytes:
    return holder.model_dump_json(indent=1).encode()
