"""Describes a training job in a plain record, and launches it on Ray Train."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from infra.cluster import Cluster
from infra.errors import ConfigError, Problem, StorageError
from infra.gpu_memory import await_gpu_memory
from infra.manifests import PartRef
from infra.ray_train import RankLink, RankRun, run_ranks
from infra.storage import Storage
from infra.torch_build import read_torch_build
from tasks.training.batching import choose_ranks, least_ranks, plan_batches
from tasks.training.config import TrainingConfig
from tasks.training.deepspeed_config import name_layout
from tasks.training.metrics import TrainProgress
from tasks.training.samples import Probe

_TRACKERS = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Holds everything a rank needs, and nothing that depends on how many ranks there are.

    ``base`` is a folder that every node sees, or a hub name with ``revision``; ``base_identity``
    tells its content. ``train`` and ``validation`` are the files that encoding wrote.
    ``fingerprint`` is the training node's. Everything the job writes lies below ``folder``, which
    like the paths of the files is relative to ``storage_root``. ``deepspeed`` is the loaded
    configuration file, or ``None`` for plain data parallelism.
    ``probes`` are asked while the model trains.
    """

    fingerprint: str
    base: str
    revision: str | None
    base_identity: str
    storage_root: str
    folder: str
    train: PartRef
    validation: PartRef | None
    pad_id: int | None
    stop_id: int
    config: TrainingConfig
    deepspeed: dict[str, Any] | None
    probes: tuple[Probe, ...] = ()

    @property
    def checkpoints(self) -> str:
        """Return the folder of the checkpoints below the storage root."""
        return f"{self.folder}/{self.fingerprint}.checkpoints"

    @property
    def metrics(self) -> str:
        """Return the path of the metrics file below the storage root."""
        return f"{self.folder}/{self.fingerprint}.metrics.jsonl"

    @property
    def samples(self) -> str:
        """Return the path of the samples file below the storage root."""
        return f"{self.folder}/{self.fingerprint}.samples.jsonl"

    @property
    def final(self) -> str:
        """Return the folder of the trained weights below the storage root."""
        return f"{self.checkpoints}/final"


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """Is what a finished training was; kept in the marker beside the trained weights.

    ``final`` is the folder of the weights below the storage root. Losses are means over trained
    tokens, ``None`` without validation rows. Tokens and seconds are those of the last try.
    """

    final: str
    metrics: str
    samples: str | None
    steps: int
    epochs: float
    eval_loss_before: float | None
    eval_loss_after: float | None
    ranks: int
    micro_batch: int
    accumulation: int
    parameters: int
    trainable: int
    tokens: int
    trained_tokens: int
    seconds: float
    resumed_at: int | None


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
        await_gpu_memory(job.config.free_gpu_memory, "lower training.free_gpu_memory")
    from tasks.training.rank import run_rank

    run_rank(job, link)


OUTCOME = "outcome.json"
"""Lies beside the trained weights and is written last: with it, training is done."""


def write_outcome(storage: Storage, job: TrainJob, outcome: TrainOutcome) -> None:
    """Declare the trained weights whole."""
    sizes = {path: _size(storage, path) for path in storage.walk(job.final)}
    found = {"fingerprint": job.fingerprint, "base": job.base_identity, "files": sizes}
    text = json.dumps({**found, "outcome": asdict(outcome)}, indent=1)
    storage.write_bytes(f"{job.final}/{OUTCOME}", text.encode())


def read_outcome(storage: Storage, job: TrainJob) -> TrainOutcome | None:
    """Return the outcome of a job whose trained weights are all there, or ``None``."""
    try:
        found = json.loads(storage.read_bytes(f"{job.final}/{OUTCOME}"))
        outcome = TypeAdapter(TrainOutcome).validate_python(found["outcome"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    mine = (found.get("fingerprint"), found.get("base")) == (job.fingerprint, job.base_identity)
    whole = all(_size(storage, path) == size for path, size in found["files"].items())
    return outcome if mine and whole else None


def _size(storage: Storage, path: str) -> int | None:
    stat = storage.stat(path)
    return None if stat is None else stat.size
