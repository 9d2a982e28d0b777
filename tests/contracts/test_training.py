"""Holds training to what a run may rely on: exactness, resuming, honest rates, clear ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import ConfigError, InterruptedRun, StorageError
from infra.paths import packaged_configs
from infra.store.storage import Storage
from tasks.training.config import LoraConfig
from tasks.training.ranks.deepspeed_config import PLAIN
from tasks.training.ranks.job import TrainJob, TrainOutcome
from tasks.training.ranks.metrics import MetricRecord, read_metrics
from tasks.training.ranks.samples import Probe, load_samples
from tasks.training.ranks.saving.checkpoints import list_whole
from tasks.training.ranks.trainer import TrainingDiverged
from tests.contracts.rank_processes import RankProcesses
from tests.contracts.training_runs import (
    Driver,
    die_after_marker,
    die_before_marker,
    fill_disk_at,
    measure_reloaded_loss,
    run_out_of_disk_at,
    sample_ends,
    train,
    train_and_record_rates,
    train_without_compiler,
)
from tests.contracts.training_worlds import (
    STOP,
    make_document,
    make_job,
    measure_distance,
    read_base,
    read_final,
)

SHIPPED = sorted(path.name for path in (packaged_configs() / "deepspeed").glob("*.json"))
STAGES = ("deepspeed/zero1.json", "deepspeed/zero2.json", "deepspeed/zero3.json")
SAID = {"zero_optimization", "parameter_groups", "data_types"}
ONE_GPU = "deepspeed/one_gpu_8b.json"
STEPS = 10


@pytest.fixture(scope="module")
def ranks() -> Iterator[RankProcesses]:
    with RankProcesses() as processes:
        yield processes


pytestmark = pytest.mark.ranks


def finish(
    ranks: RankProcesses, job: TrainJob, count: int = 2
) -> tuple[TrainOutcome, list[MetricRecord]]:
    """Train to the end and return what rank 0 says."""
    said = ranks.run(train, job, ranks=count)[0]
    if isinstance(said, BaseException):
        raise said
    outcome, records = said
    assert outcome is not None
    return outcome, records


def losses(records: list[MetricRecord]) -> list[float]:
    return [record.loss for record in records if record.loss is not None]


def whole_steps(job: TrainJob) -> list[int]:
    storage = Storage(job.storage_root)
    return [found.marker.step for found in list_whole(storage, job.checkpoints)]


def test_zero_stages_agree(ranks: RankProcesses, tmp_path: Path) -> None:
    """Plain data parallelism and every ZeRO stage give the same losses and weights."""
    plain = make_job(tmp_path, "plain", deepspeed=PLAIN)
    outcome, records = finish(ranks, plain)
    assert outcome.eval_loss_before and outcome.eval_loss_after
    assert outcome.eval_loss_after < outcome.eval_loss_before - 0.05
    for stage in (*STAGES, ONE_GPU):
        job = make_job(tmp_path, stage.rpartition("/")[2], deepspeed=stage)
        found, told = finish(ranks, job)
        assert losses(told) == pytest.approx(losses(records), abs=5e-5)
        assert found.eval_loss_after == pytest.approx(outcome.eval_loss_after, abs=5e-5)
        assert measure_distance(read_final(job), read_final(plain)) < 1e-4
    assert len(losses(records)) == STEPS


def test_one_gpu_files_take_the_same_steps(ranks: RankProcesses, tmp_path: Path) -> None:
    """ZeRO-1 by layer takes ZeRO-3's steps, and a layer that keeps its activations the same."""
    knobs: dict[str, Any] = {"gradient_checkpointing": True, "precision": "bf16", "micro_batch": 1}
    zero3 = "deepspeed/one_gpu_8b_zero3.json"
    jobs = (
        make_job(tmp_path, "zero3", deepspeed=zero3, **knobs),
        make_job(tmp_path, "by layer", deepspeed=ONE_GPU, **knobs, kept_layers=1),
    )
    (old, told), (new, found) = (finish(ranks, job, 1) for job in jobs)
    assert losses(found) == pytest.approx(losses(told), abs=2e-3)
    assert new.eval_loss_after == pytest.approx(old.eval_loss_after, abs=2e-3)


def test_small_addends_survive(ranks: RankProcesses, tmp_path: Path) -> None:
    """Added up in fp32, the gradients of many micro-batches are those of a few large ones."""
    knobs: dict[str, Any] = {
        "precision": "bf16", "deepspeed": "deepspeed/zero2.json", "global_batch": 40, "epochs": 10,
    }  # fmt: skip
    few = make_job(tmp_path, "few", **knobs, micro_batch=40)
    many = make_job(tmp_path, "many", **knobs, micro_batch=1)
    bf16 = {**(many.deepspeed or {}), "data_types": {"grad_accum_dtype": "bf16"}}
    lossy = replace(make_job(tmp_path, "lossy", **knobs, micro_batch=1), deepspeed=bf16)
    for job in (few, many, lossy):
        finish(ranks, job, 1)
    away = [measure_distance(read_final(job), read_final(few)) for job in (many, lossy)]
    assert away[0] < 0.7 * away[1], away


def test_small_updates_survive(ranks: RankProcesses, tmp_path: Path) -> None:
    """200 steps at 1e-5 in bf16 move the weights as in fp32: rounding does not eat them."""
    knobs: dict[str, Any] = {
        "learning_rate": 1e-5, "final_learning_rate": 1e-5, "global_batch": 1, "micro_batch": 1,
        "epochs": 5, "eval_every_steps": 1000,
    }  # fmt: skip

    def move(name: str, **more: Any) -> float:
        job = make_job(tmp_path, name, **{**knobs, **more})
        return move_job(job)

    def move_job(job: TrainJob) -> float:
        outcome, _ = finish(ranks, job, 1)
        assert outcome.steps == 200
        return measure_distance(read_final(job), read_base(job))

    wanted = move("fp32", deepspeed=PLAIN)
    moved = {
        name: move(name, deepspeed=f"deepspeed/{name}", precision="bf16") / wanted
        for name in SHIPPED
    }
    assert min(moved.values()) >= 0.9, moved
    assert max(moved.values()) <= 1.1, moved

    lossy = make_job(tmp_path, "lossy", **knobs, precision="bf16", deepspeed="deepspeed/zero2.json")
    masters = {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    config = {**(lossy.deepspeed or {}), "bf16": masters}
    assert move_job(replace(lossy, deepspeed=config)) / wanted < 0.5  # the measure can tell


def test_lr_ends_at_1e_6(ranks: RankProcesses, tmp_path: Path) -> None:
    """The first step uses 1e-5 and the last one exactly 1e-6, as in the paper."""
    job = make_job(tmp_path, "rates", learning_rate=1e-5, final_learning_rate=1e-6)
    seen = ranks.run(train_and_record_rates, job)[1]
    rates = seen[::2]
    assert rates == seen[1::2]  # ZeRO steps its two parameter groups one after the other
    assert len(rates) == STEPS
    assert rates[0] == 1e-5
    assert rates[-1] == 1e-6
    assert np.diff(rates) == pytest.approx(np.full(STEPS - 1, -1e-6), rel=1e-6)
    told = [r.learning_rate for r in read_metrics(Storage(job.storage_root), job.metrics) if r.loss]
    assert told == rates


def test_batch_factorisation_is_invisible(ranks: RankProcesses, tmp_path: Path) -> None:
    """Ranks, micro batch and accumulation are how a global batch is worked off, nothing more."""
    first = make_job(tmp_path, "two ranks, micro 2, twice")
    outcome, records = finish(ranks, first)
    for count, micro in ((2, 1), (2, 4), (1, 8), (1, 2)):
        job = make_job(tmp_path, f"{count} ranks, micro {micro}", micro_batch=micro)
        found, told = finish(ranks, job, count)
        assert (found.ranks, found.accumulation) == (count, 8 // count // micro)
        assert losses(told) == pytest.approx(losses(records), abs=2e-6)
        assert found.eval_loss_after == pytest.approx(outcome.eval_loss_after, abs=2e-6)
        assert measure_distance(read_final(job), read_final(first)) < 1e-4
        assert found.trained_tokens == outcome.trained_tokens


@pytest.mark.parametrize("deepspeed", [PLAIN, "deepspeed/cpu.json", "deepspeed/zero3.json"])
def test_resume_equals_uninterrupted(ranks: RankProcesses, tmp_path: Path, deepspeed: str) -> None:
    """Killed in epoch 1 and again in epoch 2, a run ends bit for bit where it would have ended."""
    knobs: dict[str, Any] = {
        "deepspeed": deepspeed, "precision": "bf16", "checkpoint_every_steps": 2,
    }  # fmt: skip
    calm = make_job(tmp_path, "calm", **knobs)
    outcome, records = finish(ranks, calm)
    assert outcome.resumed_at is None

    killed = make_job(tmp_path, "killed", **knobs)
    for step, left in ((3, [2]), (8, [4, 6])):
        died = ranks.run(train, killed, Driver(kill_at=step))
        assert isinstance(died[0], ChildProcessError)
        assert whole_steps(killed) == left
    found, told = finish(ranks, killed)
    assert found.resumed_at == 6
    assert [record.step for record in told] == list(range(STEPS + 1))
    assert losses(told) == losses(records)
    assert found.eval_loss_after == outcome.eval_loss_after
    assert measure_distance(read_final(killed), read_final(calm)) == 0


def test_half_a_checkpoint_is_never_taken_for_whole(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(tmp_path, "half", checkpoint_every_steps=2)
    died = ranks.run(die_before_marker, job, 4)
    assert isinstance(died[0], ChildProcessError)
    assert Path(job.storage_root, job.checkpoints, "step-00000004", "latest").is_file()
    assert whole_steps(job) == [2]
    outcome, _ = finish(ranks, job)
    assert outcome.resumed_at == 2
    assert whole_steps(job) == [6, 8]


def test_a_checkpoint_too_many_goes_at_the_next_start(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(tmp_path, "last", checkpoint_every_steps=2)
    died = ranks.run(die_after_marker, job, 8)
    assert isinstance(died[0], ChildProcessError)
    assert whole_steps(job) == [4, 6, 8]
    outcome, _ = finish(ranks, job)
    assert outcome.resumed_at == 8
    assert whole_steps(job) == [6, 8]


def test_minutes_are_counted_where_no_steps_are_said(ranks: RankProcesses, tmp_path: Path) -> None:
    """The first checkpoint is due at once here; later ones wait for a multiple of what it took."""
    knobs: dict[str, Any] = {"checkpoint_every_steps": None, "checkpoint_every_minutes": 1e-6}
    job = make_job(tmp_path, "minutes", **knobs, keep_checkpoints=STEPS)
    outcome, _ = finish(ranks, job)
    assert outcome.steps == STEPS and 1 in whole_steps(job)


@pytest.mark.parametrize("deepspeed", [PLAIN, ONE_GPU, "deepspeed/zero3.json"])
def test_resume_on_other_world_size(ranks: RankProcesses, tmp_path: Path, deepspeed: str) -> None:
    """Two ranks, then one, then two: the same steps, up to the order of additions."""
    knobs: dict[str, Any] = {"deepspeed": deepspeed, "checkpoint_every_steps": 2}
    calm = make_job(tmp_path, "calm", **knobs)
    outcome, records = finish(ranks, calm)

    moved = make_job(tmp_path, "moved", **knobs)
    for count, step in ((2, 5), (1, 8)):
        died = ranks.run(train, moved, Driver(kill_at=step), ranks=count)
        assert isinstance(died[0], ChildProcessError)
    found, told = finish(ranks, moved)
    assert found.resumed_at == 6
    assert losses(told) == pytest.approx(losses(records), abs=5e-6)
    assert found.eval_loss_after == pytest.approx(outcome.eval_loss_after, abs=5e-6)
    assert measure_distance(read_final(moved), read_final(calm)) < 1e-4


def test_resume_under_another_zero_stage(ranks: RankProcesses, tmp_path: Path) -> None:
    """ZeRO-1 and -2 read each other's checkpoints; what cannot be read is refused clearly."""
    calm = make_job(tmp_path, "calm", deepspeed="deepspeed/zero1.json")
    _, records = finish(ranks, calm)
    knobs: dict[str, Any] = {"checkpoint_every_steps": 2}
    for stage in ("zero1", "zero2"):
        job = make_job(tmp_path, "moved", deepspeed=f"deepspeed/{stage}.json", **knobs)
        told = ranks.run(train, job, Driver(kill_at=5 if stage == "zero1" else None))
    assert losses(told[0][1]) == pytest.approx(losses(records), abs=5e-6)
    for other in (PLAIN, "deepspeed/zero3.json"):
        said = ranks.run(train, make_job(tmp_path, "moved", deepspeed=other, **knobs))[1]
        assert isinstance(said, ConfigError) and "set training.deepspeed back" in str(said)


@pytest.mark.parametrize(("stage", "tied"), [("zero1", True), ("zero3", False)])
def test_saved_model_reloads_to_same_loss(
    ranks: RankProcesses, tmp_path: Path, stage: str, tied: bool
) -> None:
    job = make_job(tmp_path, "saved", tied=tied, deepspeed=f"deepspeed/{stage}.json")
    outcome, _ = finish(ranks, job)
    loss = ranks.run(measure_reloaded_loss, job, str(tmp_path / job.final), ranks=1)[0]
    assert loss == pytest.approx(outcome.eval_loss_after, abs=1e-5)
    assert outcome.eval_loss_after != pytest.approx(outcome.eval_loss_before, abs=0.02)


@pytest.mark.parametrize(
    ("deepspeed", "stop"),
    [(PLAIN, True), ("deepspeed/zero2.json", True), ("deepspeed/zero3.json", False)],
)
def test_adapters_are_merged_into_what_is_saved(
    ranks: RankProcesses, tmp_path: Path, deepspeed: str, stop: bool
) -> None:
    job = make_job(
        tmp_path, "lora", deepspeed=deepspeed, learning_rate=1e-2, checkpoint_every_steps=4,
        lora=LoraConfig(rank=4, train_stop_token=stop),
    )  # fmt: skip
    ranks.run(train, job, Driver(kill_at=6))
    outcome, _ = finish(ranks, job)
    assert outcome.resumed_at == 4
    assert outcome.trainable < outcome.parameters
    loss = ranks.run(measure_reloaded_loss, job, str(tmp_path / job.final), ranks=1)[0]
    assert loss == pytest.approx(outcome.eval_loss_after, abs=1e-5)
    base, final = read_base(job), read_final(job)
    assert base.keys() == final.keys()
    changed = np.abs(final["lm_head.weight"] - base["lm_head.weight"]).sum(axis=1)
    assert np.flatnonzero(changed).tolist() == ([STOP] if stop else [])


def test_stop_is_learned(ranks: RankProcesses, tmp_path: Path) -> None:
    """A base that has never seen the end-of-turn token ends its answers after training."""
    job = make_job(
        tmp_path, "stop", epochs=30, learning_rate=1e-2, precision="bf16",
        deepspeed="deepspeed/cpu.json", micro_batch=4,
    )  # fmt: skip
    random = np.random.RandomState(9)
    prompts = [make_document(random, 16).input_ids[:2].tolist() for _ in range(100)]
    shares: list[float] = []
    for folder in (job.base, str(tmp_path / job.final)):
        if shares:
            finish(ranks, job)
        shares += ranks.run(sample_ends, folder, prompts, STOP, 30, ranks=1)
    assert shares[0] < 0.7
    assert shares[1] >= 0.95


@pytest.mark.parametrize("config", ["cpu", "zero3_offload"])
def test_no_compiler_needed(ranks: RankProcesses, tmp_path: Path, config: str) -> None:
    built = tmp_path / "built"
    job = make_job(tmp_path, "uncompiled", deepspeed=f"deepspeed/{config}.json", precision="bf16")
    assert ranks.run(train_without_compiler, job, built) == [[], []]


def test_divergence_ends_the_training_and_is_not_kept(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(
        tmp_path, "diverged", learning_rate=1e30, final_learning_rate=1e30, max_grad_norm=1e9,
        checkpoint_every_steps=1,
    )  # fmt: skip
    said = ranks.run(train, job)
    for error in said:
        assert isinstance(error, TrainingDiverged)
        assert "training diverged at step" in str(error) and "learning_rate" in str(error)
    records = read_metrics(Storage(job.storage_root), job.metrics)
    assert whole_steps(job)[-1] == max(record.step for record in records if record.loss)


def test_a_full_disk_is_found_before_half_a_checkpoint_is_written(
    ranks: RankProcesses, tmp_path: Path
) -> None:
    job = make_job(tmp_path, "full", checkpoint_every_steps=2)
    for error in ranks.run(fill_disk_at, job, 6):
        assert isinstance(error, StorageError) and "GiB free" in str(error)
    assert whole_steps(job) == [2, 4]
    outcome, _ = finish(ranks, job)
    assert outcome.resumed_at == 4


def test_a_disk_that_runs_full_leaves_no_whole_checkpoint(
    ranks: RankProcesses, tmp_path: Path
) -> None:
    job = make_job(tmp_path, "filled", checkpoint_every_steps=2)
    error = ranks.run(run_out_of_disk_at, job, 4)[1]
    assert isinstance(error, StorageError) and "No space left on device" in str(error)
    assert whole_steps(job) == [2]


def test_a_checkpoint_of_another_base_is_refused(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(tmp_path, "changed", checkpoint_every_steps=2)
    ranks.run(train, job, Driver(kill_at=5))
    for error in ranks.run(train, replace(job, base_identity="another")):
        assert isinstance(error, ConfigError)
        assert "belongs to another base model" in str(error) and "remove" in str(error)


def test_a_request_to_stop_writes_a_checkpoint_first(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(tmp_path, "stopped")
    for error in ranks.run(train, job, Driver(stop_at=3)):
        assert isinstance(error, InterruptedRun)
    stopped = whole_steps(job)
    assert len(stopped) == 1 and 2 <= stopped[0] <= 4
    outcome, _ = finish(ranks, job)
    assert outcome.resumed_at == stopped[0]


def test_sampling_changes_nothing_and_resumes_without_doubles(
    ranks: RankProcesses, tmp_path: Path
) -> None:
    """Under ZeRO-3, where rank 0 generates with weights that must be gathered first."""
    knobs: dict[str, Any] = {"deepspeed": "deepspeed/zero3.json", "checkpoint_every_steps": 2}
    silent = make_job(tmp_path, "silent", **knobs)
    _, records = finish(ranks, silent)
    probes = tuple(
        Probe(key, f"character {key}", "", "", token_ids)
        for key, token_ids in (("one", (0, 20, 21)), ("two", (0, 40)))
    )
    config = {**knobs, "samples": {"every_steps": 3, "max_new_tokens": 5, "temperature": 0.8}}
    job = replace(make_job(tmp_path, "sampled", **config), probes=probes)
    ranks.run(train, job, Driver(kill_at=7))
    outcome, told = finish(ranks, job)
    assert losses(told) == losses(records)
    assert outcome.samples == job.samples
    samples = load_samples(Path(job.storage_root, job.samples).read_text(encoding="utf-8"))
    assert [(sample.step, sample.key) for sample in samples] == [
        (step, key) for step in (3, 6, 9, 10) for key in ("one", "two")
    ]
    assert all(1 <= sample.tokens <= 5 or sample.ended for sample in samples)
    greedy = {**config, "samples": {"every_steps": 3, "max_new_tokens": 5}}
    plain = replace(make_job(tmp_path, "greedy", **greedy), probes=probes)
    finish(ranks, plain)
    others = load_samples(Path(plain.storage_root, plain.samples).read_text(encoding="utf-8"))
    assert [sample.answer for sample in others] != [sample.answer for sample in samples]


def test_trackers_write_at_the_storage_root(ranks: RankProcesses, tmp_path: Path) -> None:
    job = make_job(tmp_path, "tracked", trackers=("tensorboard",))
    finish(ranks, job)
    events = list((tmp_path / job.folder / "tracked.tensorboard").rglob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"train/grad_norm" in events[0].read_bytes()


def test_configurations_say_no_more_than_where_states_lie() -> None:
    """What belongs to the recipe is in the training knobs, so a config cannot contradict them."""
    for name in SHIPPED:
        text = (packaged_configs() / "deepspeed" / name).read_text(encoding="utf-8")
        assert {"zero_optimization"} <= set(json.loads(text)) <= SAID
    cpu = json.loads((packaged_configs() / "deepspeed" / "cpu.json").read_text(encoding="utf-8"))
    assert "offload_optimizer" not in cpu["zero_optimization"]
