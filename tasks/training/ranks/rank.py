"""Does what one rank of a training does: load, resume, train, evaluate, sample, finish."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from infra.cluster.ray_train import RankLink
from infra.errors import InterruptedRun
from infra.progress import pace_job
from infra.rendering.encoder import load_tokenizer
from infra.store.storage import Storage
from infra.temporary_folders import name_owned, sweep_folders
from tasks.training.ranks.deepspeed_config import fill_deepspeed_config
from tasks.training.ranks.job import TrainJob, TrainOutcome, write_outcome
from tasks.training.ranks.metrics import (
    Meter,
    MetricRecord,
    MetricsFile,
    TrainProgress,
    count_flops_per_token,
    read_metrics,
)
from tasks.training.ranks.process_group import (
    RankPlace,
    agree,
    gather,
    join_deepspeed,
    keep_deepspeed_from_compiling,
    wait_for_all,
)
from tasks.training.ranks.samples import dump_samples, generate_answers, load_samples, make_samples
from tasks.training.ranks.saving.pace import CheckpointPace
from tasks.training.ranks.saving.rank_checkpoints import RankCheckpoints
from tasks.training.ranks.schedule import RateSchedule
from tasks.training.ranks.trainer import StepFacts, build_trainer, gathered_model, make_arguments
from tasks.training.ranks.weights import choose_attention, load_base, make_lora_config, save_weights
from tasks.training.rows.batching import count_steps, plan_batches
from tasks.training.rows.token_files import collate, collate_flat, fetch_part, open_rows


def run_rank(job: TrainJob, link: RankLink) -> None:
    """Train as one of several ranks, from the newest whole checkpoint if there is one.

    Rank 0 writes metrics and samples, tells the driver about every step, and leaves the trained
    weights with the outcome beside them at the storage root.
    """
    place = RankPlace.from_environment()
    scratch = _take_scratch(place)
    rank = None
    try:
        rank = _Rank(job, place, link, scratch)
        rank.run()
        wait_for_all()
    finally:
        if rank is not None:
            rank.checkpoints.leave()
        if place.is_first_of_node:
            shutil.rmtree(scratch, ignore_errors=True)


def _take_scratch(place: RankPlace) -> Path:
    """Make a folder for all ranks of this node, which goes with the first of them.

    Ranks of a node have consecutive numbers, with Ray Train as with torchrun.
    """
    if place.is_first_of_node:
        sweep_folders()
    owned = gather(name_owned("ranks"))[place.rank - place.local_rank]
    scratch = Path(tempfile.gettempdir(), f"{owned}{agree(uuid.uuid4().hex)}")
    scratch.mkdir(exist_ok=True)
    return scratch


class _Rank:
    """State of one rank, and what its trainer tells about steps and checkpoints."""

    def __init__(self, job: TrainJob, place: RankPlace, link: RankLink, scratch: Path) -> None:
        import torch

        self.storage = Storage(job.storage_root)
        self.place, self.link, self.scratch = place, link, scratch
        self.on_gpu = torch.cuda.is_available()
        if not self.on_gpu:
            keep_deepspeed_from_compiling()
        config = job.config
        self.plan = plan_batches(config, place.ranks)
        self.rows = job.train.rows
        self.steps = count_steps(self.rows, config.epochs, config.global_batch)
        self.checkpoints = RankCheckpoints(job, place, scratch)
        self.job = replace(job, deepspeed=self._fill_deepspeed(job))
        self.metrics = MetricsFile(self.storage, job.metrics) if place.is_main else None
        self.tokens = self.trained = 0
        self.began = time.monotonic()
        self.pace = pace_job()
        self.checkpoint_pace = CheckpointPace(config.checkpoint_every_minutes)

    def run(self) -> None:
        """Train to the end and write the trained weights."""
        trainer, evaluates = self._build()
        start = self.checkpoints.start_step
        trainer.args.eval_on_start = evaluates and start == 0
        if self.metrics:
            self.metrics.begin(start)
        trainer.train(resume_from_checkpoint=self.checkpoints.open())
        self.checkpoints.finish()
        if trainer.state.global_step < self.steps:
            raise InterruptedRun(
                f"stopped in training at step {trainer.state.global_step} of {self.steps}; its"
                " checkpoint is written"
            )
        self._finish(trainer)

    def stop_wanted(self) -> bool:
        """Tell whether this rank has heard that training should stop."""
        return self.link.stop_wanted()

    def finish_step(self, trainer: Any, facts: StepFacts) -> None:
        """Write and tell the numbers of a step; sample when it is time."""
        self.tokens += facts.tokens
        self.trained += facts.trained
        self._tell(
            MetricRecord(
                step=facts.step,
                epoch=self._epoch(facts.step),
                loss=facts.loss,
                learning_rate=facts.learning_rate,
                grad_norm=facts.grad_norm,
                **self.meter.rate(facts.tokens, facts.trained, facts.slots),
            )
        )
        every = self.job.config.samples.every_steps
        if self.job.probes and (facts.step == self.steps or (every and facts.step % every == 0)):
            self._sample(trainer, facts.step)
            self.meter.restart()

    def finish_evaluation(self, step: int, loss: float) -> None:
        """Write and tell the validation loss."""
        self._tell(MetricRecord(step=step, epoch=self._epoch(step), eval_loss=loss))
        self.meter.restart()

    def save(self, trainer: Any, step: int) -> None:
        """Write a checkpoint of all ranks."""
        if self.metrics:
            self.metrics.flush()
        began = time.monotonic()
        self.checkpoints.write(step, trainer.write_state, self.trainable)
        self.checkpoint_pace.note(time.monotonic() - began)
        self.meter.restart()

    def checkpoint_due(self) -> bool:
        """Tell whether it is time for a checkpoint; rank 0's clock counts."""
        by_steps = self.job.config.checkpoint_every_steps is not None
        return self.place.is_main and not by_steps and self.checkpoint_pace.is_due()

    def _build(self) -> tuple[Any, bool]:
        """Load data and model and build the trainer; also tell whether there is validation."""
        import torch
        from transformers import set_seed

        job, config = self.job, self.job.config
        parts = [part for part in (job.train, job.validation) if part and part.rows]
        train, *rest = (open_rows(fetch_part(self.storage, part)) for part in parts)
        validation = rest[0] if rest else None
        if job.deepspeed is not None:
            join_deepspeed()
        schedule = RateSchedule(
            self.steps, config.warmup_share, config.learning_rate, config.final_learning_rate
        )
        arguments = make_arguments(job, self.plan, schedule, self.scratch, on_gpu=self.on_gpu)
        set_seed(config.seed)
        model = load_base(job, on_gpu=self.on_gpu)
        flat = choose_attention(config.attention, on_gpu=self.on_gpu) == "flash_attention_2"
        trainer = build_trainer(
            model,
            arguments,
            job,
            (train, validation),
            collate_flat if flat else partial(collate, pad_id=_known(job.pad_id)),
            schedule,
            self,
            make_lora_config(job, model),
        )
        self.parameters = _count(model, trained_only=False)
        self.trainable = _count(model, trained_only=True)
        self.meter = Meter(
            count_flops_per_token(self.trainable, self.parameters - self.trainable),
            self.place.ranks,
            torch.cuda.get_device_name() if self.on_gpu else "cpu",
        )
        return trainer, validation is not None

    def _fill_deepspeed(self, job: TrainJob) -> dict[str, Any] | None:
        if job.deepspeed is None:
            return None
        filled = fill_deepspeed_config(job.deepspeed, job.config, self.plan)
        if self.checkpoints.needs_universal:
            filled["checkpoint"] = {**filled.get("checkpoint", {}), "load_universal": True}
        return filled

    def _sample(self, trainer: Any, step: int) -> None:
        """Have rank 0 answer the probes."""
        job = self.job
        with gathered_model(trainer) as model:
            if not self.place.is_main:
                return
            tokenizer = load_tokenizer(job.base, job.revision)
            answers = generate_answers(
                model,
                [probe.token_ids for probe in job.probes],
                decode=partial(tokenizer.decode, skip_special_tokens=False),
                stop_ids=[job.stop_id],
                pad_id=_known(job.pad_id),
                max_new_tokens=job.config.samples.max_new_tokens,
                temperature=job.config.samples.temperature,
                seed=job.config.seed,
            )
        try:
            before = load_samples(self.storage.read_bytes(job.samples).decode("utf-8"))
        except FileNotFoundError:
            before = ()
        kept = [sample for sample in before if sample.step < step]
        text = dump_samples([*kept, *make_samples(step, job.probes, answers)])
        self.storage.write_bytes(job.samples, text.encode())

    def _finish(self, trainer: Any) -> None:
        job, dtype = self.job, self.job.config.export_dtype
        self.checkpoints.write_folder(
            job.final,
            lambda folder: save_weights(trainer, Path(folder), job, dtype),
            4 * self.parameters,
        )
        if self.metrics is None:
            return
        self.metrics.flush()
        losses = {
            record.step: record.eval_loss for record in read_metrics(self.storage, job.metrics)
        }
        outcome = TrainOutcome(
            final=job.final,
            metrics=job.metrics,
            samples=job.samples if job.probes else None,
            steps=self.steps,
            epochs=self._epoch(self.steps),
            eval_loss_before=losses.get(0),
            eval_loss_after=losses.get(self.steps),
            ranks=self.place.ranks,
            micro_batch=self.plan.micro_batch,
            accumulation=self.plan.accumulation,
            parameters=self.parameters,
            trainable=self.trainable,
            tokens=self.tokens,
            trained_tokens=self.trained,
            seconds=round(time.monotonic() - self.began, 3),
            resumed_at=self.checkpoints.start_step or None,
        )
        write_outcome(self.storage, job, outcome)

    def _epoch(self, step: int) -> float:
        return round(step * self.plan.global_batch / self.rows, 6)

    def _tell(self, record: MetricRecord) -> None:
        if self.metrics is None:
            return
        self.metrics.add(record)
        start = self.checkpoints.start_step
        self.pace.note(record.step - start)
        self.link.tell(
            TrainProgress(
                step=record.step,
                steps=self.steps,
                record=record,
                eta_s=self.pace.estimate_s(self.steps - record.step),
                resumed_at=start or None,
            )
        )


def _known(pad_id: int | None) -> int:
    if pad_id is None:
        raise ValueError("check_job() was not asked: the base model has no pad token")
    return pad_id


def _count(model: Any, *, trained_only: bool) -> int:
    """Count parameters; ZeRO-3 leaves empty tensors that remember their size."""
    return sum(
        int(getattr(parameter, "ds_numel", parameter.numel()))
        for parameter in model.parameters()
        if parameter.requires_grad or not trained_only
    )
