"""Trains one side of the training benchmark on ranks of its own, and leaves weights and figures.

Both sides are timed alike: from the end of the first step to the end of the last, so neither
start-up, nor a first step that warms caches, nor writing weights counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from infra.rendering.encoder import load_tokenizer
from infra.store.manifests import PartRef, digest_bytes, refer_to_file
from infra.store.storage import Storage
from tasks.training.config import TrainingConfig
from tasks.training.ranks.deepspeed_config import load_deepspeed_config, name_layout
from tasks.training.ranks.job import TrainJob, read_outcome
from tasks.training.ranks.metrics import TrainProgress, read_metrics
from tasks.training.ranks.rank import run_rank
from tasks.training.rows.templates import choose_format
from tasks.training.rows.token_files import IGNORED, TokenFile
from tests.benchmarks.training_rows import DATA, MESSAGES

Side = Literal["ours", "trl", "plain"]

UNDISTURBED: dict[str, Any] = {
    "checkpoint_every_steps": 1_000_000,
    "samples": {"characters": 0},
}
"""No checkpoints and samples while the clock runs (TRL writes its first after 500 steps)."""

_HERE = "tests.benchmarks.training_sides"
_STEP = "step "


@dataclass(frozen=True, slots=True)
class Setup:
    """Says what a side trains: ``knobs`` are TrainingConfig's for us, SFTConfig's for TRL.

    The side reads the rows below ``root`` and writes to ``folder`` below it. ``validate`` has ours
    measure the loss of the held-out rows before and after.
    """

    side: Side
    model: str
    root: str
    folder: str
    knobs: dict[str, Any]
    validate: bool = False

    @property
    def figures(self) -> Path:
        """Return the file for the figures."""
        return Path(self.root, self.folder, "figures.json")


@dataclass(frozen=True, slots=True)
class Figures:
    """Is what a training took: tokens of all ranks and steps, seconds of all steps but the first.

    ``padding_share`` is the share of the slots that the model computed and no token filled.
    ``weights`` is their folder, ``knobs`` the values that trained, as far as sides may differ.
    Ours also tells the median of the steps' ``mfu``, peak memory, and losses of held-out rows.
    """

    steps: int
    tokens: int
    trained_tokens: int
    padding_share: float
    seconds: float
    weights: str
    knobs: dict[str, Any]
    mfu: float | None = None
    peak_memory_gib: float | None = None
    eval_losses: tuple[float | None, float | None] = (None, None)
    step_seconds: tuple[float, ...] = ()
    """Of each step but the first, in order, where both sides of a comparison tell them."""

    def rate(self, tokens: int) -> float:
        """Return so many tokens of the whole training per second; the first step's left out."""
        return tokens * (self.steps - 1) / self.steps / self.seconds


def train(setup: Setup, ranks: int, threads: int = 1) -> Figures:
    """Train a side on ranks of so many threads, and print each step of ours; return the figures.

    Exits with what was printed last if a rank fails.
    """
    setup.figures.parent.mkdir(parents=True)
    path = setup.figures.with_name("setup.json")
    path.write_text(json.dumps(asdict(setup)), encoding="utf-8")
    command = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    last: deque[str] = deque(maxlen=80)
    with subprocess.Popen(
        [sys.executable, "-m", *command, "-m", _HERE, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    ) as process:
        for line in process.stdout or ():
            last.append(line)
            if line.startswith(_STEP):
                print(line.rstrip(), flush=True)
    if process.returncode:
        raise SystemExit(f"{setup.folder} failed:\n{''.join(last)}")
    return Figures(**json.loads(setup.figures.read_text(encoding="utf-8")))


class StepClock:
    """Notes when the first and the last step ended; is told of steps like a driver."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    @property
    def seconds(self) -> float:
        """Return the seconds from the end of the first step to the end of the last, if told."""
        return self._ends[-1] - self._ends[0] if self._ends else 0.0

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """Return the seconds of each step but the first."""
        return tuple(after - before for before, after in pairwise(self._ends))

    def note(self) -> None:
        """Note the end of a step."""
        self._ends.append(time.monotonic())

    def tell(self, message: TrainProgress) -> None:
        """Hear of a step, or an evaluation, from our rank."""
        record = message.record
        if record.loss is None:
            return
        self.note()
        mfu = "" if record.mfu is None else f", MFU {record.mfu:.3f}"
        print(
            f"{_STEP}{message.step} of {message.steps}: loss {record.loss:.4f},"
            f" {record.tokens_per_s:,.0f} tokens/s{mfu}, {record.peak_memory_gib:.1f} GiB",
            flush=True,
        )

    def stop_wanted(self) -> bool:
        """Never stop our rank."""
        return False


class CountingCollator:
    """Counts what TRL's own collator makes on this rank: tokens, trained tokens and slots."""

    def __init__(self, collate: Any) -> None:
        self._collate = collate
        self.counts = [0, 0, 0]

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self._collate(rows)
        found = (
            batch["attention_mask"].sum(),
            (batch["labels"][:, 1:] != IGNORED).sum(),
            batch["input_ids"].numel(),
        )
        self.counts = [old + int(new) for old, new in zip(self.counts, found, strict=True)]
        return batch


def train_ours(setup: Setup) -> Figures:
    """Train as a rank under Ray Train does, on the packed token file."""
    import torch
    import torch.distributed as dist

    storage = Storage(setup.root)
    chat = choose_format(load_tokenizer(setup.model))
    config = TrainingConfig.model_validate(setup.knobs)
    job = TrainJob(
        fingerprint="bench",
        base=setup.model,
        revision=None,
        base_identity="bench",
        storage_root=storage.root,
        folder=setup.folder,
        train=_refer(storage, "train"),
        validation=_refer(storage, "validation") if setup.validate else None,
        pad_id=chat.pad_id,
        stop_id=chat.stop_id,
        config=config,
        deepspeed=load_deepspeed_config(config.deepspeed),
    )
    clock = StepClock()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    run_rank(job, clock)
    dist.destroy_process_group()
    outcome = read_outcome(storage, job)
    if outcome is None:
        raise SystemExit("our side left no weights")
    records = [record for record in read_metrics(storage, job.metrics) if record.loss is not None]
    shares = [record.padding_share or 0.0 for record in records]
    mfu = [record.mfu for record in records[1:] if record.mfu is not None]
    return Figures(
        steps=outcome.steps,
        tokens=outcome.tokens,
        trained_tokens=outcome.trained_tokens,
        padding_share=sum(shares) / len(shares),
        seconds=clock.seconds,
        weights=storage.url(outcome.final),
        knobs={
            "rows a step": config.global_batch,
            "rows at once on a rank": outcome.micro_batch,
            "packing": config.packing,
            "max_length": config.max_length,
            "precision": config.precision,
            "gradient checkpointing": config.gradient_checkpointing,
            "data parallelism": name_layout(job.deepspeed),
            "betas": list(config.adam_betas),
        },
        mfu=statistics.median(mfu) if mfu else None,
        peak_memory_gib=max(record.peak_memory_gib or 0.0 for record in records),
        eval_losses=(outcome.eval_loss_before, outcome.eval_loss_after),
        step_seconds=clock.step_seconds,
    )


def _refer(storage: Storage, split: str) -> PartRef:
    path = f"{DATA}/{split}.arrow"
    rows = len(TokenFile(Path(storage.url(path))))
    return refer_to_file(storage, path, digest_bytes(storage.read_bytes(path)), rows, split)


def train_trl(setup: Setup) -> Figures:
    """Train with a plain SFTTrainer on the messages; several ranks of it are DDP."""
    import torch
    import torch.distributed as dist
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class NoteSteps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.note()

    clock = StepClock()
    weights = f"{setup.root}/{setup.folder}/weights"
    tokenizer = load_tokenizer(setup.model)
    tokenizer.chat_template = choose_format(tokenizer).training_template
    trainer = SFTTrainer(
        setup.model,
        args=SFTConfig(output_dir=f"{setup.root}/{setup.folder}/output", **setup.knobs),
        train_dataset=Dataset.from_parquet(f"{setup.root}/{DATA}/{MESSAGES}"),
        processing_class=tokenizer,
        callbacks=[NoteSteps()],
    )
    trainer.data_collator = CountingCollator(trainer.data_collator)
    trainer.train()
    counts = torch.tensor(trainer.data_collator.counts, device=trainer.args.device)
    dist.all_reduce(counts)
    tokens, trained, slots = counts.tolist()
    trainer.save_model(weights)
    dist.destroy_process_group()
    args = trainer.args
    return Figures(
        steps=trainer.state.global_step,
        tokens=tokens,
        trained_tokens=trained,
        padding_share=1 - tokens / slots,
        seconds=clock.seconds,
        weights=weights,
        knobs={
            "rows a step": args.train_batch_size
            * args.world_size
            * args.gradient_accumulation_steps,
            "rows at once on a rank": args.train_batch_size,
            "packing": args.packing,
            "max_length": args.max_length,
            "precision": "bf16 autocast" if args.bf16 else "fp32",
            "gradient checkpointing": args.gradient_checkpointing,
            "data parallelism": "ddp",
            "betas": [args.adam_beta1, args.adam_beta2],
        },
    )


def _find_side(side: Side) -> Callable[[Setup], Figures]:
    if side == "plain":
        from tests.benchmarks.plain_loop import train_plain

        return train_plain
    return train_ours if side == "ours" else train_trl


def main() -> None:
    """Train as the rank that the environment names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setup", type=Path)
    setup = Setup(**json.loads(parser.parse_args().setup.read_text(encoding="utf-8")))
    figures = _find_side(setup.side)(setup)
    if os.environ["RANK"] == "0":
        setup.figures.write_text(json.dumps(asdict(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
