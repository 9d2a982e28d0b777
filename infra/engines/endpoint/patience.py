"""Judges an endpoint that has not answered anything yet: how long its failures are borne.

Before the first answer a failure says more about the address than about the moment: nobody
listens, a web page comes back, a proxy has no server behind it. After it, failures pass mostly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from infra.errors import RequestFailed
from infra.protocol import Completion

T = TypeVar("T")

_SHARES = {"connect": 1 / 6, "unreadable": 1 / 6, "server": 1 / 3, "lost": 1 / 3}
"""Of the patience, by the kind of failure; overload and silence get all of it."""
_FEWEST = {"connect": 3, "timeout": 2}
_FEWEST_OTHERS = 5
_MOST_BLANKS = 6


class Patience:
    """Record of an endpoint's first tries; ends once something was answered."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience_s = patience_s
        self.answered = False
        """Whether anything usable ever came."""
        self.heard = False
        """Whether any reply ever came."""
        self.failures = self.blanks = 0
        self._clock = clock
        self._since: float | None = None
        self._began: float | None = None
        self._told_to_wait_s = 0.0

    def note_request(self) -> None:
        """Remember when the first request went out."""
        self._began = self._began if self._began is not None else self._clock()

    @property
    def waited_s(self) -> float:
        """Return how long the first answer has been waited for."""
        return 0.0 if self._began is None else self._clock() - self._began

    def note_answer(self, completion: Completion) -> bool:
        """Take in an answer; tell whether all so far were blank, and that is enough of them."""
        self.heard = True
        if completion.text.strip() or completion.finish_reason == "refusal":
            self.answered = self.answered or bool(completion.text.strip())
            return False
        self.blanks += 1
        return not self.answered and self.blanks >= _MOST_BLANKS

    def note_failure(self, kind: str, wait_s: float | None = None) -> bool:
        """Take in a failure; tell whether it is enough of them."""
        if self.answered:
            return False
        now = self._clock()
        self._since = now if self._since is None else self._since
        self.failures += 1
        self.heard = self.heard or kind not in ("connect", "timeout", "lost")
        if wait_s is not None:  # the server itself says when it will be ready
            self._told_to_wait_s = max(self._told_to_wait_s, now - self._since + wait_s)
        borne_s = max(_SHARES.get(kind, 1.0) * self.patience_s, min(self._told_to_wait_s, 600.0))
        passed_s = self.waited_s if kind == "timeout" else now - self._since
        return self.failures >= _FEWEST.get(kind, _FEWEST_OTHERS) and passed_s >= borne_s


class Verdict:
    """What every request of an engine is told once the endpoint is given up; ends open ones."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._fallen = asyncio.Event()

    def fall(self, text: str) -> None:
        """Give the endpoint up; the first reason stays."""
        self.text = self.text or text
        self._fallen.set()

    def check(self) -> None:
        """Raise :class:`RequestFailed` for all requests once the endpoint was given up."""
        if self.text is not None:
            raise RequestFailed(self.text, fatal=True)

    async def race(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work unless the endpoint is given up before it is done."""
        task = asyncio.ensure_future(work)
        fallen = asyncio.ensure_future(self._fallen.wait())
        try:
            await asyncio.wait({task, fallen}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            fallen.cancel()
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self.check()
        raise RequestFailed("the endpoint was given up", fatal=True)
