"""Does on a rank what the contracts of training ask for: train, die, sample, look closely."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store.storage import Storage
from tasks.training.ranks.job import TrainJob, TrainOutcome, read_outcome
from tasks.training.ranks.metrics import MetricRecord, TrainProgress, read_metrics
from tests.contracts.training_worlds import PAD


@dataclass
class Driver:
    """Is a driver that kills rank 0, or wants the ranks to stop, once a step is done."""

    kill_at: int | None = None
    stop_at: int | None = None
    step: int = 0

    def tell(self, message: TrainProgress) -> None:
        self.step = message.step
        if message.record.loss is not None and message.step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def stop_wanted(self) -> bool:
        return self.stop_at is not None and self.step + 1 >= self.stop_at


def train(
    job: TrainJob, driver: Driver | None = None
) -> tuple[TrainOutcome | None, list[MetricRecord]]:
    """Train a job to its end, or until the driver ends it."""
    from tasks.training.ranks.rank import run_rank

    run_rank(job, driver or Driver())
    storage = Storage(job.storage_root)
    return read_outcome(storage, job), read_metrics(storage, job.metrics)


def train_and_record_rates(job: TrainJob) -> list[float]:
    """Return the learning rate that the optimiser itself had at each of its steps."""
    from torch.optim import AdamW
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    rates: list[float] = []

    def record(optimizer: Any, *_: Any) -> None:
        if isinstance(optimizer, AdamW):  # not the wrappers around it
            rates.append(optimizer.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(record)
    try:
        train(job)
    finally:
        hook.remove()
    return rates


def die_before_marker(job: TrainJob, step: int) -> None:
    """Die when a checkpoint's files are all written, and its marker is not."""
    from tasks.training.ranks.saving import checkpoints, rank_checkpoints

    write_marker = checkpoints.write_marker

    def die(storage: Storage, folder: str, **facts: Any) -> Any:
        if folder.endswith(f"{step:08d}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return write_marker(storage, folder, **facts)

    vars(rank_checkpoints)["write_marker"] = die
    train(job)


def die_after_marker(job: TrainJob, step: int) -> None:
    """Die when a checkpoint is whole, and the one that it makes superfluous is still there."""
    from tasks.training.ranks.saving import checkpoints, rank_checkpoints

    write_marker = checkpoints.write_marker

    def die(storage: Storage, folder: str, **facts: Any) -> Any:
        written = write_marker(storage, folder, **facts)
        if folder.endswith(f"{step:08d}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    vars(rank_checkpoints)["write_marker"] = die
    train(job)


def fill_disk_at(job: TrainJob, step: int) -> None:
    """Let the disk be full when a checkpoint is to be written."""
    usage = shutil.disk_usage

    def full(path: Any) -> Any:
        found = usage(path)
        return found._replace(free=0) if Path(path).name.endswith(f"{step:08d}") else found

    vars(shutil)["disk_usage"] = full
    train(job)


def run_out_of_disk_at(job: TrainJob, step: int) -> None:
    """Let the disk run full in the middle of a checkpoint, on the last rank only."""
    import torch

    save = torch.save

    def fail(value: Any, file: Any, *rest: Any, **options: Any) -> None:
        if os.environ["RANK"] == "1" and f"{step:08d}" in str(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        save(value, file, *rest, **options)

    torch.save = fail
    train(job)


def train_without_compiler(job: TrainJob, built: Path) -> list[str]:
    """Train where no compiler can be found; return what was built all the same."""
    os.environ["PATH"] = "/nowhere"
    os.environ["TORCH_EXTENSIONS_DIR"] = str(built)
    assert shutil.which("g++") is None and shutil.which("ninja") is None
    train(job)
    return [str(path) for path in built.rglob("*")]


def measure_reloaded_loss(job: TrainJob, folder: str) -> float:
    """Return the mean loss over the trained tokens of validation, by transformers' own loss."""
    import torch
    from transformers import AutoModelForCausalLM

    from tasks.training.rows.token_files import collate, open_rows

    assert job.validation is not None
    rows = open_rows(Path(job.storage_root, job.validation.path))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total = count = 0.0
    for row in rows:
        batch = collate([row], job.pad_id or 0)
        with torch.no_grad():
            loss = model(**batch, use_cache=False).loss
        trained = int((batch["labels"][:, 1:] != -100).sum())
        total, count = total + float(loss) * trained, count + trained
    return total / count


def sample_ends(folder: str, prompts: list[list[int]], stop: int, most: int) -> float:
    """Return the share of sampled answers that end by themselves within so many tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    made = model.generate(
        torch.tensor(prompts),
        do_sample=True,
        max_new_tokens=most,
        eos_token_id=stop,
        pad_token_id=PAD,
    )
    return float((made[:, len(prompts[0]) :] == stop).any(dim=1).float().mean())
