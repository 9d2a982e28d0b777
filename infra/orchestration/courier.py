"""Brings news to Prefect's server in a thread of its own, so that nobody waits for a server.

A server that is being restarted takes minutes to answer, and Prefect's client waits for it. Who
makes rows has no time for that: only the newest of each kind of news is kept until it can be told,
and news that cannot be told are logged once, until some get through again.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Courier:
    """Carrier of news; thread-safe. Its thread is a daemon, and begins with the first of them."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[contextvars.Context, Callable[[], None]]] = {}
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failing = False

    def send(self, kind: str, tell: Callable[[], None]) -> None:
        """Have ``tell`` called soon in the caller's context, in place of news not told yet."""
        with self._changed:
            self._waiting[kind] = (contextvars.copy_context(), tell)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="courier", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is told, so long at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                kind = next(iter(self._waiting))
                context, tell = self._waiting.pop(kind)
                self._busy = True
            self._tell(kind, context, tell)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _tell(self, kind: str, context: contextvars.Context, tell: Callable[[], None]) -> None:
        try:
            context.run(tell)
            self._failing = False
        except Exception as error:
            if not self._failing:
                _log.warning("%s is not shown in Prefect for now: %s", kind, error)
            self._failing = True
