"""Holds a run and its store for faults to strike: starts it, waits for moments and for its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.chaos.checks import await_no_processes
from tests.chaos.fatal_moments import FatalMoment
from tests.chaos.stores import Files, Rows, list_parts, read_rows
from tests.chaos.victims import find_victims
from tests.e2e.scripted import ROW_STAGES
from tests.e2e.stumbling_s3 import StumblingS3

PATIENCE_S = 400.0
_GLANCE_S = 0.05


class TooLate(Exception):
    """The run was over before a fault's moment came."""


@dataclass
class Scene:
    """A run of the command line, again and again with the same arguments, and its store.

    Attributes:
        folder: Holds what the run writes beside the store, its temporary folder too.
        env: What the run finds in its environment.
        ledger: Where its engine notes every request; ``None`` for engines that do not.
        dice: What decides where a fault is not fixed.
        nodes: Holder of the Ray that it joins; ``None`` for one of its own.
        s3: Server of its store; ``None`` for one on a disk.
    """

    folder: Path
    arguments: Sequence[str]
    env: dict[str, str]
    files: Files
    dice: Random
    ledger: Path | None = None
    nodes: subprocess.Popen[str] | None = None
    s3: StumblingS3 | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def temporary(self) -> Path:
        """Return the temporary folder of its runs; short, as sockets' paths must be."""
        return self.folder / "t"

    @property
    def errors(self) -> Path:
        """Return where the runs say what happens."""
        return self.folder / "errors"

    @property
    def is_running(self) -> bool:
        """Tell whether a run is under way."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Return the number of the run's process; :class:`TooLate` if it is over."""
        if self.process is None or not self.is_running:
            raise TooLate
        return self.process.pid

    def start(self, fatal: FatalMoment | None = None) -> None:
        """Begin the run, or go on with it; ``fatal`` is when it is to die by itself."""
        assert not self.is_running
        self.temporary.mkdir(exist_ok=True)
        program = "flows.cli" if fatal is None else "tests.chaos.fatal_moments"
        own = {} if fatal is None else fatal.as_environment()
        output = self.folder / "output"
        with output.open("wb") as answer, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, *self.arguments],
                env={**os.environ, "TMPDIR": str(self.temporary), **self.env, **own},
                stdout=answer,
                stderr=errors,
                start_new_session=True,
            )

    def await_that(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for a moment of a run that is under way; :class:`TooLate` once that is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if not self.is_running:
                raise TooLate
            assert time.monotonic() < deadline, f"{what}: not after {PATIENCE_S:.0f} s"
            time.sleep(_GLANCE_S)

    def await_parts(self, more: int, stages: Sequence[str] = ROW_STAGES) -> None:
        """Wait until so many parts more than now were committed."""
        seen = self.list_parts(stages)
        first = len(seen)

        def grew() -> bool:
            seen.update(self.list_parts(stages))
            return len(seen) >= first + more

        self.await_that(grew, f"{more} more parts")

    def list_parts(self, stages: Sequence[str] = ROW_STAGES) -> set[str]:
        """Return the names of the parts that are there."""
        return {path for stage in stages for path in list_parts(self.files, stage)}

    def await_victims(self, kind: str, count: int = 1) -> list[psutil.Process]:
        """Wait until there are so many processes of a kind, and return them all."""
        found: list[psutil.Process] = []

        def are_there() -> bool:
            found[:] = find_victims(self.pid, kind)
            return len(found) >= count

        self.await_that(are_there, f"{count} × {kind}")
        return found

    def await_end(self) -> int:
        """Wait for the end of the run, and of all that it has started; return its exit code."""
        assert self.process is not None
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the run hangs; its words: {self.read_words()}") from None
        await_no_processes(self.temporary)
        return code

    def stop(self) -> None:
        """End a run in order, if one is under way."""
        if self.is_running and self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.await_end()

    def close(self) -> None:
        """End a run at once, if one is under way, as when a check has failed."""
        if self.is_running and self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def read_rows(self) -> Rows:
        """Read the rows that are committed."""
        return read_rows(self.files, ROW_STAGES)

    def read_asked(self) -> list[str]:
        """Return all requests so far, oldest first."""
        if self.ledger is None or not self.ledger.exists():
            return []
        return self.ledger.read_text().splitlines()

    def read_result(self) -> dict[str, Any]:
        """Return the closing line of the run that went well."""
        lines = (self.folder / "output").read_text().strip().splitlines()
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    def read_words(self) -> str:
        """Return the last that the runs have said."""
        return self.errors.read_text(errors="replace")[-1500:]
