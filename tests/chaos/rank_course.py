"""Sends faults over a training: real ranks under Ray Train, whose checkpoints go to S3.

However often it is killed, its losses and its weights must be those of a training that nothing
happened to, to the last bit.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import SIGKILL
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from infra.store.storage import Storage
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.metrics import read_metrics
from tasks.training.ranks.saving.checkpoints import list_whole
from tests.chaos.checks import await_no_processes, find_left_behind
from tests.chaos.s3_courses import BUCKET
from tests.chaos.table import Line
from tests.chaos.victims import find_victims, strike
from tests.contracts.training_worlds import make_job
from tests.e2e.stumbling_s3 import StumblingS3, run_s3

RANKS, STEPS, EVERY = 2, 40, 10
_KNOBS: dict[str, Any] = {
    "rows": 160, "epochs": 2, "checkpoint_every_steps": EVERY, "deepspeed": "deepspeed/cpu.json",
    "precision": "bf16", "micro_batch": 1, "max_failures": 9,
}  # fmt: skip
_PATIENCE_S = 400.0
_LATE_STEPS = 5
"""Steps come to the driver's ear half a second late."""


@dataclass(frozen=True, slots=True)
class RankFault:
    """One thing that goes wrong; it comes at a step, or at a request to S3 that is like ``path``.

    ``victims`` are kinds; a kind that is named twice has two.
    """

    kind: str
    victims: tuple[str, ...]
    first_step: int = 0
    path: str = ""

    @property
    def moment(self) -> str:
        """Say when it comes."""
        at = f"step {self.first_step} to {self.first_step + 3}"
        return f"a PUT of {self.path} is on the way" if self.path else at


FAULTS = (
    RankFault("training rank: SIGKILL", ("training rank",), first_step=12),
    RankFault("two at once: both training ranks", ("training rank",) * 2, first_step=22),
    RankFault("checkpoint upload: driver SIGKILL", ("driver",), path=f"step-{3 * EVERY:08}/"),
    RankFault(
        "checkpoint upload: rank SIGKILL",
        ("training rank",),
        path=f"step-{3 * EVERY:08}/whole.json",
    ),
    RankFault("two at once: driver + rank", ("driver", "training rank"), path="final/"),
)


@dataclass
class Training:
    """A training in a process of its own, again and again by the same command."""

    folder: Path
    job: TrainJob
    told: list[int] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    ranks: set[int] = field(default_factory=set)

    def start(self) -> None:
        """Begin it, or go on with it."""
        (self.folder / "t").mkdir(exist_ok=True)
        file = self.folder / "job.pickle"
        file.write_bytes(pickle.dumps(self.job))
        with (self.folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.training_process", str(file)],
                env={**os.environ, "TMPDIR": str(self.folder / "t"), "SPT_NOENV": "1"},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    @property
    def is_running(self) -> bool:
        """Tell whether it is under way."""
        return self.process is not None and self.process.poll() is None

    def await_that(self, ready: Callable[[], bool], what: str) -> bool:
        """Wait for a moment; false if the training was over first."""
        deadline = time.monotonic() + _PATIENCE_S
        while not ready():
            if not self.is_running:
                return False
            assert time.monotonic() < deadline, f"{what}: not after {_PATIENCE_S:.0f} s"
            time.sleep(0.01)
        return True

    def strike(self, victims: Sequence[str], dice: Random) -> None:
        """Kill so many of each kind."""
        assert self.process is not None
        found = [
            one
            for kind in dict.fromkeys(victims)
            for one in dice.sample(find_victims(self.process.pid, kind), victims.count(kind))
        ]
        self.ranks = {one.pid for one in find_victims(self.process.pid, "training rank")}
        for process in found:
            strike(process, SIGKILL)

    def has_new_ranks(self) -> bool:
        """Tell whether all ranks are others than those at the last strike."""
        assert self.process is not None
        now = {one.pid for one in find_victims(self.process.pid, "training rank")}
        return len(now) == RANKS and not now & self.ranks

    def await_end(self) -> int:
        """Wait for its end, and of all that it has started; return its exit code."""
        assert self.process is not None
        code = self.process.wait(_PATIENCE_S)
        await_no_processes(self.folder / "t")
        return code

    def find_newest(self) -> int:
        """Return the step of the newest whole checkpoint, or 0."""
        whole = list_whole(Storage(self.job.storage_root), self.job.checkpoints)
        return whole[-1].marker.step if whole else 0

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdigit():
                self.told.append(int(line))


class RankCourse:
    """Faults over one training, whose outcome is compared with a calm one's."""

    name, against = "ranks", "training ranks, S3"
    faults: Sequence[RankFault] = FAULTS

    def run(
        self, chosen: Sequence[tuple[int, RankFault]], seed: int, tell: Callable[[Line], None]
    ) -> None:
        """Let these of its faults come, by their numbers; ``tell`` hears what each came to."""
        for line in _shake(chosen, seed):
            tell(line)


def _shake(chosen: Sequence[tuple[int, RankFault]], seed: int) -> list[Line]:
    lines = []
    with open_training("calm") as (calm, _):
        calm.start()
        assert calm.await_end() == 0, (calm.folder / "errors").read_text()[-1500:]
        expected = read_outcome(calm.job)
    with open_training("shaken") as (training, s3):
        for place, fault in chosen:
            line = Line(place, fault.kind, RankCourse.against, f"{seed}/{place}", fault.moment)
            try:
                _let_come(training, s3, fault, line)
            except BaseException:
                print((training.folder / "errors").read_text()[-1500:], flush=True)
                raise
            lines.append(line)
        if not training.is_running:
            training.start()
        assert training.await_end() == 0, (training.folder / "errors").read_text()[-1500:]
        assert read_outcome(training.job) == expected
        left = find_left_behind(training.folder / "t")
        assert not left, f"left behind in the temporary folder: {left}"
    return lines


@contextmanager
def open_training(name: str) -> Iterator[tuple[Training, StumblingS3]]:
    """Have a training whose store lies on S3, below a prefix that nothing was written to."""
    with run_s3() as s3, TemporaryDirectory(prefix="oc-chaos-", dir="/tmp") as given:
        folder = Path(given)
        with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
            # All servers of a process have the same objects.
            job = make_job(f"s3://{BUCKET}/{name}", "job", models=folder, **_KNOBS)
            training = Training(folder, job)
            try:
                yield training, s3
            finally:
                if training.is_running and training.process is not None:
                    training.process.kill()
                    training.process.wait(30)


def read_outcome(job: TrainJob) -> tuple[list[int], list[float | None], bytes]:
    """Read what a training leaves: its steps, their losses, and the weights."""
    storage = Storage(job.storage_root)
    records = read_metrics(storage, job.metrics)
    weights = storage.read_bytes(f"{job.final}/model.safetensors")
    kept = [found.marker.step for found in list_whole(storage, job.checkpoints)]
    assert kept == [STEPS - 2 * EVERY, STEPS - EVERY]
    assert storage.walk(f"{job.checkpoints}/ray") == ()
    steps = [record.step for record in records]
    assert steps == list(range(STEPS + 1))
    return steps, [record.loss for record in records], weights


def _let_come(training: Training, s3: StumblingS3, fault: RankFault, line: Line) -> None:
    began, dice = time.monotonic(), Random(line.seed)
    if not training.is_running:
        training.start()
    first = len(training.told)
    if fault.path:
        came = _strike_at_request(training, s3, fault, dice)
    else:
        wanted = fault.first_step + dice.randint(0, 3)
        came = training.await_that(
            lambda: any(step >= wanted for step in training.told[first:]), f"step {wanted}"
        )
        if came:
            training.strike(fault.victims, dice)
    assert came, f"{fault.kind}: its moment never comes"
    if "driver" in fault.victims:
        line.went_on = f"same command after exit {training.await_end()}"
        line.before = training.find_newest()
        training.start()
    else:
        line.went_on = "by itself"
        line.before = training.find_newest()
        assert training.await_that(training.has_new_ranks, "ranks again")
    heard = len(training.told)
    training.await_that(lambda: len(training.told) > heard, "a step again")
    last, resumed = max(training.told[first:heard], default=0), training.told[heard]
    line.again = max(0, last - resumed + 1)
    assert line.again <= EVERY + _LATE_STEPS, f"{line.again} steps were trained again"
    line.after = training.find_newest()
    assert line.after >= line.before
    line.seconds = time.monotonic() - began


def _strike_at_request(training: Training, s3: StumblingS3, fault: RankFault, dice: Random) -> bool:
    struck: list[str] = []

    def watch(method: str, path: str) -> None:
        if method == "PUT" and fault.path in path and not struck:
            struck.append(path)
            training.strike(fault.victims, dice)

    s3.watch = watch
    try:
        return training.await_that(lambda: bool(struck), fault.moment) or bool(struck)
    finally:
        s3.watch = lambda method, path: None
