"""Tests what a training job is refused for, and when it is already done."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.cluster.session import Cluster, RayConfig
from infra.errors import ConfigError
from infra.store.manifests import PartRef
from infra.store.storage import Storage
from tasks.training.config import LoraConfig, TrainingConfig
from tasks.training.ranks.job import TrainJob, TrainOutcome, read_outcome, write_outcome
from tasks.training.ranks.launch import check_job, run_job


def make_job(root: Path, **changes: Any) -> TrainJob:
    part = PartRef(path="train.arrow", size=1, token="", digest="d", rows=10, holds="file")
    job = TrainJob(
        fingerprint="f", base="some/base", revision=None, base_identity="b",
        storage_root=str(root), folder="training/r", train=part, validation=None, pad_id=1,
        stop_id=2, config=TrainingConfig(workers=2), deepspeed={"zero_optimization": {"stage": 3}},
    )  # fmt: skip
    return replace(job, **changes)


def make_outcome(job: TrainJob) -> TrainOutcome:
    return TrainOutcome(
        final=job.final, metrics=job.metrics, samples=None, steps=4, epochs=2.0,
        eval_loss_before=4.0, eval_loss_after=3.0, ranks=2, micro_batch=1, accumulation=1,
        parameters=10, trainable=10, tokens=100, trained_tokens=50, seconds=1.0, resumed_at=None,
    )  # fmt: skip


def test_a_job_travels_to_its_ranks(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert pickle.loads(pickle.dumps(job)) == job


def test_an_outcome_counts_only_with_its_weights(tmp_path: Path) -> None:
    storage, job = Storage(str(tmp_path)), make_job(tmp_path)
    assert read_outcome(storage, job) is None
    storage.write_bytes(f"{job.final}/model.safetensors", b"weights")
    assert read_outcome(storage, job) is None
    write_outcome(storage, job, make_outcome(job))
    assert read_outcome(storage, job) == make_outcome(job)
    assert read_outcome(storage, replace(job, base_identity="c")) is None
    storage.write_bytes(f"{job.final}/model.safetensors", b"weight")
    assert read_outcome(storage, job) is None


def test_what_is_trained_is_not_trained_again(tmp_path: Path) -> None:
    storage, job = Storage(str(tmp_path)), make_job(tmp_path)
    storage.write_bytes(f"{job.final}/model.safetensors", b"weights")
    write_outcome(storage, job, make_outcome(job))
    cluster = Cluster(RayConfig())
    told: list[Any] = []
    found = run_job(job, cluster, stop=threading.Event(), on_progress=told.append)
    assert found == make_outcome(job)
    assert not cluster.started and told == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pad_id": None}, "no pad token of its own"),
        ({"pad_id": 2}, "both pads rows and ends answers"),
        ({"config": TrainingConfig(workers=3)}, "64 rows cannot be split evenly over 3 ranks"),
        ({"config": TrainingConfig(workers=2, trackers=("trackio",))}, "trackio is not installed"),
        ({"config": TrainingConfig(workers=2, lora=LoraConfig())}, "deepspeed/zero2.json"),
    ],
)
def test_what_cannot_run_is_refused_before_a_rank_starts(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    cluster = Cluster(RayConfig())
    with pytest.raises(ConfigError) as caught:
        run_job(make_job(tmp_path, **changes), cluster, stop=threading.Event(), on_progress=print)
    assert told in str(caught.value)
    assert not cluster.started


def test_no_rows_are_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with pytest.raises(ConfigError, match="no rows to train on"):
        check_job(replace(job, train=job.train.model_copy(update={"rows": 0})))
