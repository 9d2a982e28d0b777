"""Runs the command line as a user would, kills it, and looks for what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

_COMMAND = [sys.executable, "-m", "flows.cli"]
_WORKER = "PYTEST_XDIST_WORKER"
_LEFT_BEHIND = (
    *("raylet", "gcs_server", "ray::", "uvicorn"),
    *("EngineCore", "VLLM::", "infra.engines.vllm.imports"),
)


def run_command(
    arguments: Sequence[str], env: Mapping[str, str], timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*_COMMAND, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def run_program(
    module: str,
    argument: str,
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float = 280,
    inside: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a program of these tests in a folder; return the JSON of its last line.

    ``env`` holds further variables, such as those that name its Prefect server or database;
    ``inside`` is a command that runs it somewhere else.
    """
    done = subprocess.run(
        [*inside, sys.executable, "-m", module, argument],
        cwd=cwd,
        env={
            **os.environ,
            **env,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def closing_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the closing JSON line of a run that went well."""
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def run_until(
    arguments: Sequence[str],
    env: Mapping[str, str],
    ready: Callable[[], bool],
    number: signal.Signals,
    timeout_s: float = 300,
    log: Path | None = None,
) -> int:
    """Start the command line, send a signal when ``ready``, and return how it ended.

    What it says to people goes to ``log``, if there is one.
    """
    with (log or Path(os.devnull)).open("wb") as told:
        process = subprocess.Popen(
            [*_COMMAND, *arguments],
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert process.poll() is None, f"the run ended early: {process.returncode}"
        assert time.monotonic() < deadline, "the run did not get there in time"
        time.sleep(0.05)
    process.send_signal(number)
    return process.wait(timeout=120)


def count_parts(root: Path, stage: str) -> int:
    """Count the parts a stage has committed."""
    return len(list((root / stage).glob("*/part-*.parquet")))


def await_no_leftovers(before: set[int], timeout_s: float = 60) -> None:
    """Wait until no process of an engine or of Ray is left that was not there before.

    Of tests that run side by side, each looks at its own processes only.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left = [
            f"{process.pid} {' '.join(process.info['cmdline'] or [])[:120]}"
            for process in psutil.process_iter(["cmdline", "status"])
            if process.pid not in before
            and process.info["status"] != psutil.STATUS_ZOMBIE
            and any(mark in " ".join(process.info["cmdline"] or []) for mark in _LEFT_BEHIND)
            and not _is_a_neighbours(process)
        ]
        if not left:
            return
        assert time.monotonic() < deadline, "left behind: " + "; ".join(left)
        time.sleep(0.5)


def _is_a_neighbours(process: psutil.Process) -> bool:
    """Tell whether a process descends from another of the workers that run tests side by side.

    A worker has a name in its environment, which all its descendants inherit. A process without
    one, or that hides its environment, counts as our own: a leftover must never be overlooked.
    """
    try:
        owner = process.environ().get(_WORKER)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return owner is not None and owner != os.environ.get(_WORKER)


def running_pids() -> set[int]:
    """Return the processes that run now."""
    return set(psutil.pids())
