"""Launches a training job on Ray Train, or finds that it is done."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable

from infra.cluster.gpu_memory import await_gpu_memory
from infra.cluster.ray_train import RankLink, RankRun, run_ranks
from infra.cluster.session import Cluster
from infra.cluster.torch_build import read_torch_build
from infra.errors import ConfigError, Problem, StorageError
from infra.store.storage import Storage
from tasks.training.ranks.deepspeed_config import name_layout
from tasks.training.ranks.job import TrainJob, TrainOutcome, read_outcome
from tasks.training.ranks.metrics import TrainProgress
from tasks.training.rows.batching import choose_ranks, least_ranks, plan_batches

_TRACKERS = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


def run_job(
    job: TrainJob,
    cluster: Cluster,
    *,
    stop: threading.Event,
    on_progress: Callable[[TrainProgress], None],
) -> TrainOutcome:
    """Train, or go on with a training that was interrupted, or return what is already trained.

    Raises:
        ConfigError: The job cannot run as it is described; found before any rank starts.
        TrainingDiverged: The loss was no finite number any more.
        InterruptedRun: ``stop`` was set; a checkpoint of the last step was written.
        StorageError: A checkpoint or the weights could not be written.
        RanksFailed: Ranks were lost more than ``max_failures`` times.
    """
    done = read_outcome(Storage(job.storage_root), job)
    if done is not None:
        return done
    check_job(job)
    run = RankRun(
        function=_be_rank,
        argument=job,
        ranks=choose_ranks(job.config, cluster.devices()),
        storage=Storage(job.storage_root),
        folder=job.checkpoints,
        max_failures=job.config.max_failures,
    )
    run_ranks(cluster, run, stop=stop, on_message=on_progress)
    outcome = read_outcome(Storage(job.storage_root), job)
    if outcome is None:
        raise StorageError(
            f"{Storage(job.storage_root).url(job.final)}: the ranks ended well, but their weights"
            " are not there. Run again: training goes on from the last checkpoint."
        )
    return outcome


def check_job(job: TrainJob) -> None:
    """Raise :class:`ConfigError` for what would fail on the ranks, with all of it at once."""
    problems: list[Problem] = []
    try:
        plan_batches(job.config, least_ranks(job.config))
    except ConfigError as error:
        problems += error.problems
    if job.pad_id is None or job.pad_id == job.stop_id:
        problems.append(
            Problem(
                job.base,
                "the base model has no pad token of its own"
                if job.pad_id is None
                else f"token {job.pad_id} both pads rows and ends answers",
                "choose a pad token that is not used otherwise, such as one of the reserved"
                " special tokens; a pad that ends answers would teach the model not to end",
            )
        )
    lora = job.config.lora
    if lora and lora.train_stop_token and name_layout(job.deepspeed) == "zero-3":
        problems.append(
            Problem(
                "training.lora.train_stop_token",
                "peft cannot train single embedding rows under ZeRO-3",
                "set training.deepspeed to deepspeed/zero2.json: adapters have few states to shard",
            )
        )
    if job.train.rows == 0:
        problems.append(
            Problem(job.train.path, "no rows to train on", "look at what encoding rejected")
        )
    problems += [
        Problem(
            "training.trackers",
            f"{tracker} is not installed",
            f"pip install {package}, or leave it out",
        )
        for tracker, package in _TRACKERS.items()
        if tracker in job.config.trackers and importlib.util.find_spec(package) is None
    ]
    if problems:
        raise ConfigError(*problems)


def _be_rank(job: TrainJob, link: RankLink) -> None:
    if read_torch_build().kind != "cpu":
        # Packed rows differ in what they take: blocks that can grow leave no gaps between them.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        await_gpu_memory(job.config.free_gpu_memory, "lower training.free_gpu_memory")
    from tasks.training.ranks.rank import run_rank

    run_rank(job, link)
