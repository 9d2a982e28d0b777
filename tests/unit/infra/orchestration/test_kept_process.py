"""Checks that a process which ends by itself is started again, and one that is ended is not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from infra.orchestration import kept_process
from infra.orchestration.kept_process import KeptProcess

LONG = [sys.executable, "-c", "import time; time.sleep(600)"]
SHORT = [sys.executable, "-c", "raise SystemExit(3)"]


def starter(*commands: list[str]) -> tuple[Callable[[], subprocess.Popen[bytes]], list[int]]:
    """Return what starts one command after the other, and the numbers of what was started."""
    started: list[int] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(commands[min(len(started), len(commands) - 1)])
        started.append(process.pid)
        return process

    return start, started


def await_that(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_killed_is_started_again_until_it_is_ended() -> None:
    start, started = starter(LONG)
    kept = KeptProcess("a server", start)
    kept.keep()
    kept.keep()
    kept.process.kill()
    await_that(lambda: len(started) == 2 and kept.process.pid == started[1])
    kept.end(5)
    assert len(started) == 2 and kept.process.returncode is not None


def test_what_nobody_relies_on_yet_is_not_started_again() -> None:
    start, started = starter(SHORT)
    kept = KeptProcess("a server", start)
    assert kept.process.wait(60) == 3
    kept.end(5)
    assert len(started) == 1


def test_what_ends_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_process, "_GLANCE_S", 0.02)
    start, started = starter(SHORT)
    kept = KeptProcess("a server", start)
    kept.keep()
    await_that(lambda: not kept._watch.is_alive())
    kept.process.wait(60)
    kept.end(5)
    assert len(started) == 5
