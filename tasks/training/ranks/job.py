"""Describes a training job, and what became of it, in plain records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from infra.store.manifests import PartRef
from infra.store.storage import Storage
from tasks.training.config import TrainingConfig
from tasks.training.ranks.samples import Probe


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Everything a rank needs, and nothing that depends on how many ranks there are.

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
    """Outcome of a finished training; kept in the marker beside the trained weights.

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
