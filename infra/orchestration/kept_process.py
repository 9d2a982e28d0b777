"""Starts a process again that has ended by itself while others rely on it."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable

_GLANCE_S = 0.5
_STARTS = 5

_log = logging.getLogger(__name__)


class KeptProcess:
    """A process, and each that took its place; at most five starts in all.

    ``name`` is what the log calls it.
    """

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._name, self._start = name, start
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)
        self.process = start()
        """The last that was started."""

    def keep(self) -> None:
        """Watch it from now on; again does nothing."""
        if not self._watch.is_alive() and not self._ended.is_set():
            self._watch.start()

    def end(self, grace_s: float) -> None:
        """End it in order, or at once after ``grace_s``."""
        self._ended.set()
        if self._watch.is_alive():
            self._watch.join()
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _keep(self) -> None:
        for _ in range(_STARTS - 1):
            while self.process.poll() is None:
                if self._ended.wait(_GLANCE_S):
                    return
            if self._ended.is_set():
                return
            code = self.process.returncode
            _log.warning("%s ended by itself (%s); it is started again", self._name, code)
            self.process = self._start()
