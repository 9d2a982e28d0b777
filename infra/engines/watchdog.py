"""Notices an engine that is alive and does nothing: frozen, or waiting for what never comes.

A process that dies says so by its end. One that was stopped, or whose GPU hangs, says nothing, and
whoever waits for its answers would wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.errors import EngineError


class Watchdog:
    """Watch over signs of life; ``clock`` counts seconds."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._seen: object = None
        self._since = clock()

    def begin(self) -> None:
        """Start anew, as somebody begins to wait; nobody may have looked for long."""
        self._since = self._clock()

    def look(self, signs: object, *, waiting: bool) -> None:
        """Take in what tells of its work, and whether anybody waits for some.

        Raises :class:`EngineError` once the signs have been the same for longer than the patience
        while somebody waited.
        """
        now = self._clock()
        if not waiting or signs != self._seen:
            self._seen, self._since = signs, now
        elif now - self._since > self._patience_s:
            raise EngineError(
                f"the engine gave no sign of life for {now - self._since:.0f} s, not one token "
                "(stall_timeout_s of its model)"
            )
