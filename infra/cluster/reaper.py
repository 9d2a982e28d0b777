"""Ends what a killed run would leave behind: engines, Ray's helpers, the embedded Prefect server.

A SIGKILL gives a process no chance to stop its children, and some of them (Prefect's server, Ray's
agents) do not notice. So the command line starts this small process beside itself. It holds the
read end of a pipe, remembers the run's descendants, and when the pipe closes, because the run
ended in whatever way, it ends those that are still there. It ends nobody else: a process counts
by its id and its start time.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil  # type: ignore[import-untyped]

_LOOK_AGAIN_S = 1.0
_LONGEST_S = 4.0
"""A look at all processes takes a core 7 ms, so it is rarer while no new one comes."""
_GRACE_S = 5.0


@contextmanager
def reap_children() -> Iterator[None]:
    """Watch this process from inside the block on; its children do not outlive it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cluster.reaper", str(os.getpid())],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()


def watch(owner: int, pipe: int) -> None:
    """Remember the owner's descendants until the pipe closes, then end those that are left."""
    known: dict[int, float] = {}
    pause = _LOOK_AGAIN_S
    while True:
        closed, _, _ = select.select([pipe], [], [], pause)
        if closed and not os.read(pipe, 1):
            break
        found = _descendants(owner)
        pause = _LOOK_AGAIN_S if found.keys() - known.keys() else min(_LONGEST_S, 1.5 * pause)
        known |= found
    deadline = time.monotonic() + _GRACE_S
    while _alive(known) and _exists(owner) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in _alive(known):
        with suppress(psutil.Error):
            process.kill()


def _descendants(owner: int) -> dict[int, float]:
    with suppress(psutil.Error):
        children = psutil.Process(owner).children(recursive=True)
        return {child.pid: _started(child) for child in children if child.pid != os.getpid()}
    return {}


def _started(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.create_time())
    return 0.0


def _alive(known: dict[int, float]) -> list[psutil.Process]:
    found = []
    for pid, started in known.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if _started(process) == started and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _exists(pid: int) -> bool:
    return bool(psutil.pid_exists(pid))


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.stdin.fileno())
