"""Is a person at a terminal: types into a pseudo-terminal, and reads what comes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
CTRL_C = "\x03"


class Terminal:
    """Is a pseudo-terminal with the command line in its foreground."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            # A shell's background job ignores Ctrl-C, and hands that on to its children.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            command = [sys.executable, "-m", "flows.cli", *arguments]
            os.execve(sys.executable, command, {**os.environ, **(env or {})})
        self.seen = ""

    def read_until(self, pattern: str, timeout_s: float = 60) -> str:
        """Read until a pattern is seen, and return what came since the last call."""
        self._await(lambda: re.search(pattern, self.seen) is not None, timeout_s, pattern)
        found = re.search(pattern, self.seen)
        assert found is not None
        read, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return read

    def await_that(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Read until something else has happened."""
        self._await(ready, timeout_s, "it")

    def type(self, text: str) -> None:
        """Type text; control characters do what the terminal makes of them."""
        os.write(self._master, text.encode())

    def wait(self, timeout_s: float = 60) -> int:
        """Read to the end and return the exit code."""
        ended: list[int] = []

        def has_ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(ended)

        self._await(has_ended, timeout_s, "end")
        os.close(self._master)
        return ended[0]

    def _await(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"no {what!r} in: {self.seen[-3000:]}"
            if select.select([self._master], [], [], 0.05)[0]:
                with suppress(OSError):
                    text = os.read(self._master, 4096).decode(errors="replace")
                    self.seen += COLOUR.sub("", text)
