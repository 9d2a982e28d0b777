"""Trains through Ray Train: stopped, killed and failing ranks, a killed driver, storage on S3."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from infra.cluster.ray_train import RankRun, open_for_arrow, run_ranks
from infra.cluster.session import Cluster, RayConfig
from infra.errors import InterruptedRun
from infra.store.storage import Storage
from tasks.training.ranks.job import TrainJob, TrainOutcome
from tasks.training.ranks.launch import run_job
from tasks.training.ranks.metrics import MetricRecord, TrainProgress, read_metrics
from tasks.training.ranks.saving.checkpoints import list_whole
from tasks.training.ranks.trainer import TrainingDiverged
from tests.contracts.training_worlds import make_job, measure_distance, read_final
from tests.e2e.processes import await_no_leftovers, running_pids
from tests.e2e.sockets import LOOPBACK, Listeners
from tests.e2e.training_process import diverge_at_once

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    # Ray Data, which Ray Train imports, warns of a setting of its own.
    pytest.mark.filterwarnings(r"ignore:.*:DeprecationWarning:ray\."),
]

EVERY = 10
KNOBS: dict[str, Any] = {
    "rows": 160, "epochs": 2, "checkpoint_every_steps": EVERY, "deepspeed": "deepspeed/cpu.json",
    "precision": "bf16", "micro_batch": 1,
}  # fmt: skip
STEPS = 40
SOON = 15
"""A step after the first checkpoint, long before the end."""


def train(
    job: TrainJob,
    on_step: Callable[[int], None] = lambda step: None,
    stop: threading.Event | None = None,
) -> TrainOutcome:
    told: list[TrainProgress] = []

    def listen(progress: TrainProgress) -> None:
        told.append(progress)
        on_step(progress.step)

    # The session's Ray is joined, as a run joins one that already served engines.
    outcome = run_job(job, Cluster(RayConfig()), stop=stop or threading.Event(), on_progress=listen)
    assert told[-1].step == STEPS
    return outcome


def read(job: TrainJob) -> list[MetricRecord]:
    return read_metrics(Storage(job.storage_root), job.metrics)


def losses(job: TrainJob) -> list[float]:
    return [record.loss for record in read(job) if record.loss is not None]


def kill_a_rank(driver: int | None = None) -> None:
    """Kill the rank that was started last, with the signal that cannot be caught."""
    ranks = [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if "RayTrainWorker" in " ".join(process.cmdline() or [process.name()])
    ]
    assert len(ranks) == 2
    os.kill(ranks[-1].pid, signal.SIGKILL)


def test_a_training_that_is_stopped_and_loses_a_rank_ends_as_if_nothing_had_been(
    ray_cluster: None, tmp_path: Path
) -> None:
    calm = make_job(tmp_path, "calm", **KNOBS)
    assert train(calm).resumed_at is None

    job = make_job(tmp_path, "shaken", **KNOBS)
    stop = threading.Event()
    with pytest.raises(InterruptedRun, match="its checkpoint is written"):
        train(job, lambda step: stop.set() if step >= SOON else None, stop)
    stopped = list_whole(Storage(job.storage_root), job.checkpoints)[-1].marker.step
    assert SOON < stopped < STEPS

    killed: list[int] = []

    def kill_once(step: int) -> None:
        if step > stopped and not killed:
            killed.append(step)
            kill_a_rank()

    outcome = train(job, kill_once)
    assert killed
    assert outcome.resumed_at is not None and outcome.resumed_at >= stopped
    assert [record.step for record in read(job)] == list(range(STEPS + 1))
    assert losses(job) == losses(calm)
    assert measure_distance(read_final(job), read_final(calm)) == 0
    left = sorted(path.name for path in (tmp_path / job.checkpoints).iterdir())
    written = sorted({*range(EVERY, STEPS, EVERY), stopped})
    assert left == ["final", *(f"step-{step:08}" for step in written[-2:])]


def test_an_error_of_ours_is_not_tried_again(ray_cluster: None, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    run = RankRun(diverge_at_once, str(tries), 2, Storage(str(tmp_path)), "run", max_failures=3)
    with pytest.raises(TrainingDiverged, match="one of 2 ranks"):
        run_ranks(Cluster(RayConfig()), run, stop=threading.Event(), on_message=print)
    assert tries.read_text(encoding="utf-8") == "once\n"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of a real S3 server in this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="bucket")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.timeout(900)  # three trainings, two of them killed
def test_a_killed_run_goes_on_from_its_checkpoint_on_s3(bucket: str, tmp_path: Path) -> None:
    """Its ranks have a Ray of their own, where they meet over a file; one is killed before."""
    root = f"{bucket}/{tmp_path.name}"
    job = make_job(root, "killed", models=tmp_path, **KNOBS)
    file = tmp_path / "job.pickle"
    file.write_bytes(pickle.dumps(job))
    command = [sys.executable, "-m", "tests.e2e.training_process", str(file)]
    before = running_pids()

    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    storage = Storage(root)
    seen, last, started_anew = Listeners(), 0, False
    for line in process.stdout:
        if not line.strip().isdigit():
            continue  # Ray's word on the rank that was killed
        step = int(line)
        started_anew = started_anew or step < last
        # A checkpoint is uploaded beside the training, and whole some steps later.
        saved = step >= SOON and bool(list_whole(storage, job.checkpoints))
        if saved and started_anew:
            break
        if saved and not seen.places:
            seen.look(psutil.Process(process.pid))
            kill_a_rank(process.pid)
        last = step
    process.kill()
    process.wait(timeout=30)
    process.stdout.close()
    await_no_leftovers(before)
    assert any("RayTrainWo" in name for name in seen.places), "no rank was looked at"
    assert set().union(*seen.places.values()) <= LOOPBACK, seen.places

    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["resumed_at"] in range(EVERY, STEPS, EVERY)
    assert storage.stat(f"{job.final}/model.safetensors") is not None
    assert [record.step for record in read_metrics(storage, job.metrics)] == list(range(STEPS + 1))
    kept = [found.marker.step for found in list_whole(storage, job.checkpoints)]
    assert kept == [STEPS - 2 * EVERY, STEPS - EVERY]
    assert storage.walk(f"{job.checkpoints}/ray") == ()
    assert not [path for path in storage.walk(job.checkpoints) if "uploaded-" in path]


def test_arrow_finds_the_endpoint_that_s3fs_finds(bucket: str) -> None:
    Storage(bucket).write_bytes("folder/one", b"1")
    path, filesystem = open_for_arrow(Storage(bucket), "folder")
    assert path == "bucket/folder"
    with filesystem.open_input_stream(f"{path}/one") as stream:
        assert stream.read() == b"1"
