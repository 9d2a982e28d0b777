"""Watches which processes of a run listen, and where, for as long as it lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]

LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
_EVERY_S = 0.2


@dataclass
class Listeners:
    """Where the processes of a run listened, by name; ``words`` are their command lines."""

    places: dict[str, set[str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    stderr: str = ""

    def look(self, process: psutil.Process) -> None:
        """Note the sockets of a process and of all below it."""
        for one in (process, *process.children(recursive=True)):
            try:
                name = one.name()
                self.words.update(one.cmdline())
                found = one.net_connections("inet")
            except psutil.Error:
                continue
            for socket in found:
                if socket.status == psutil.CONN_LISTEN:
                    self.places.setdefault(name, set()).add(socket.laddr.ip)


def watch_run(arguments: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Listeners:
    """Run the command line to its end, looking at its sockets all the time."""
    run = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen, process = Listeners(), psutil.Process(run.pid)
    deadline = time.monotonic() + timeout_s
    while run.poll() is None:
        assert time.monotonic() < deadline, "the run does not come to its end"
        try:
            seen.look(process)
        except psutil.NoSuchProcess:
            break
        time.sleep(_EVERY_S)
    seen.stderr = run.communicate()[1]
    assert run.returncode == 0, seen.stderr[-4000:]
    return seen
