"""Adapts TRL's SFTTrainer to our token rows, order, schedule and checkpoints; the door to TRL."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from infra.errors import OpenCharacterError
from infra.store.storage import Storage
from tasks.training.ranks.deepspeed_config import groups_by_layer
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.layers import (
    group_by_layer,
    keep_activations,
    restored_recomputing,
)
from tasks.training.ranks.losses import (
    compute_loss,
    measure_loss,
    score_log_probs_only,
    score_trained_tokens_only,
)
from tasks.training.ranks.schedule import RateSchedule
from tasks.training.rows.batching import BatchPlan, StreamSampler, find_epoch_ends

_PROJECT = "opencharacter"
_TRACKER_PROJECTS = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")


class TrainingDiverged(OpenCharacterError):
    """Stop of a training whose loss is no number any more; trying again would not help."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What one optimiser step was, summed over ranks and accumulation.

    ``tokens`` leaves padding out, ``slots`` counts it, ``trained`` counts tokens with loss.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    trained: int
    slots: int


class RankHooks(Protocol):
    """Hooks that are told what happens on a rank; every rank is told at the same steps."""

    def stop_wanted(self) -> bool:
        """Tell whether to stop after this step; one rank's request stops all, at the same step."""
        ...

    def checkpoint_due(self) -> bool:
        """Tell whether to write a checkpoint after this step; one rank's word counts for all."""
        ...

    def finish_step(self, trainer: Any, facts: StepFacts) -> None:
        """Take note of an optimiser step; a place for collective operations."""
        ...

    def finish_evaluation(self, step: int, loss: float) -> None:
        """Take note of the token-weighted loss over all validation rows."""
        ...

    def save(self, trainer: Any, step: int) -> None:
        """Write a checkpoint; a collective operation."""
        ...


def point_trackers(job: TrainJob) -> None:
    """Tell experiment trackers where to write; what the environment says already comes first.

    TensorBoard's default is the output folder, which here is scratch.
    """
    folder = Storage(job.storage_root).url(f"{job.folder}/{job.fingerprint}.tensorboard")
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", folder)
    for name in _TRACKER_PROJECTS:
        os.environ.setdefault(name, _PROJECT)


def make_arguments(
    job: TrainJob, plan: BatchPlan, schedule: RateSchedule, scratch: Path, *, on_gpu: bool
) -> Any:
    """Build TRL's arguments; under ZeRO-3 this must precede loading the model."""
    from trl import SFTConfig

    point_trackers(job)
    config = job.config
    return SFTConfig(
        output_dir=str(scratch),
        max_steps=schedule.total_steps,
        per_device_train_batch_size=plan.micro_batch,
        per_device_eval_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=config.learning_rate,
        adam_beta1=config.adam_betas[0],
        adam_beta2=config.adam_betas[1],
        adam_epsilon=config.adam_epsilon,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=config.precision == "bf16",
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        seed=config.seed,
        deepspeed=job.deepspeed,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        packing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        report_to=list(config.trackers) or "none",
        run_name=job.fingerprint,
        project=_PROJECT,
    )


def build_trainer(
    model: Any,
    arguments: Any,
    job: TrainJob,
    data: tuple[Any, Any | None],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    schedule: RateSchedule,
    hooks: RankHooks,
    lora: Any | None,
) -> Any:
    """Build the trainer of one rank; ``data`` are the train and validation datasets."""
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTTrainer

    train, validation = data
    steps, config = schedule.total_steps, job.config
    score_trained_tokens_only()
    score_log_probs_only()

    class FixedSchedule(LRScheduler):  # type: ignore[misc]
        """Schedule of rates as they are: a factor on a base rate would miss the last by a bit."""

        def get_lr(self) -> list[float]:
            return [schedule.rate_at(self.last_epoch)] * len(self.optimizer.param_groups)

    class RankTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer with our order of rows, schedule, evaluation and checkpoints."""

        lr_scheduler: Any
        control: Any

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return StreamSampler(len(train), config.seed, steps * config.global_batch)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = FixedSchedule(optimizer or self.optimizer)
                self._created_lr_scheduler = True
            return self.lr_scheduler

        tally: Any = 0
        """Tokens, trained tokens and slots of this rank since the last step; a tensor of three."""

        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            ids, labels = inputs["input_ids"], inputs["labels"]
            # Counted where the rows lie: a number of Python's would wait for the GPU.
            slots = torch.full((), ids.numel(), device=ids.device)
            counts = ((ids != job.pad_id).sum(), (labels[:, 1:] != -100).sum(), slots)
            self.tally = self.tally + torch.stack(counts)
            return super().training_step(model, inputs, *rest)

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            return compute_loss(self, model, inputs, num_items_in_batch)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            if "loss" not in logs:
                super().log(logs, start_time)
                return
            wanted = torch.tensor([hooks.stop_wanted(), hooks.checkpoint_due()], dtype=torch.long)
            counts = torch.cat([part.to(self.args.device) for part in (self.tally, wanted)])
            tokens, trained, slots, stops, due = self.accelerator.reduce(counts).tolist()
            self.tally = 0
            facts = StepFacts(
                step=self.state.global_step,
                loss=float(logs["loss"]),
                learning_rate=float(logs["learning_rate"]),
                grad_norm=float(logs["grad_norm"]),
                tokens=tokens,
                trained=trained,
                slots=slots,
            )
            refuse_divergence(facts, last_losses(self.state.log_history))
            super().log(logs, start_time)
            hooks.finish_step(self, facts)
            if self.state.global_step < steps:
                self.control.should_save |= bool(stops or due)
                self.control.should_training_stop |= bool(stops)

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            measured = {"eval_loss": measure_loss(self, validation, collate)}
            self.log(dict(measured))
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, measured
            )
            hooks.finish_evaluation(self.state.global_step, measured["eval_loss"])
            return measured

        def create_optimizer(self, model: Any = None) -> Any:
            optimizer = super().create_optimizer(model)
            if groups_by_layer(job.deepspeed):
                group_by_layer(optimizer, self.model)
            return optimizer

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            hooks.save(self, self.state.global_step)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None and self.is_deepspeed_enabled:
                part_step_counts(self.model_wrapped.optimizer.optimizer)

        def write_state(self, folder: str) -> None:
            """Write all that resuming needs; under DeepSpeed its shards hold the weights."""
            if not self.is_deepspeed_enabled:
                self.save_model(folder, _internal_call=True)
            self._save_optimizer_and_scheduler(folder)
            self._save_rng_state(folder)
            if self.args.should_save:
                self.state.save_to_json(str(Path(folder, "trainer_state.json")))

    class Timetable(TrainerCallback):  # type: ignore[misc]
        """Steps after which to evaluate and to write a checkpoint, and what is set at the first."""

        evaluations = find_epoch_ends(len(train), config.epochs, config.global_batch)

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if config.gradient_checkpointing:  # the trainer has just switched it on everywhere
                keep_activations(model, config.kept_layers)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step, every = state.global_step, config.eval_every_steps
            due = step % every == 0 if every else step in self.evaluations
            control.should_evaluate = validation is not None and (due or step == steps)
            saves = config.checkpoint_every_steps
            control.should_save = bool(saves) and step % saves == 0 and step < steps

    trainer = RankTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=make_blank_tokenizer(),
        callbacks=[Timetable()],
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    # Our loss divides by the tokens of the whole step, whatever the model's own forward pass takes.
    trainer.model_accepts_loss_kwargs = True
    if arguments.world_size == 1 and not job.deepspeed:
        share_with_nobody(trainer.accelerator)
    head = trainer.model.get_output_embeddings()
    if lora is not None and not hasattr(head, "bias"):
        # peft wraps a head of which single rows are trained, and hides what TRL's loss looks for.
        head.bias = None
    return trainer


def share_with_nobody(accelerator: Any) -> None:
    """Leave out what would share the gradients of the only rank: it holds all of them twice.

    To accelerate 1.x, a model that is not wrapped is one to evaluate. With SmolLM2's 135 M
    parameters a rank takes 4.5 GiB instead of 5.3, with the same losses.
    """
    accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)


def part_step_counts(optimizer: Any) -> None:
    """Give every parameter group a step count of its own.

    DeepSpeed 0.19 loads a universal checkpoint under ZeRO-3 with one tensor for all groups; Adam
    counts in place, so with two groups every step would count twice (measured: losses off by 3e-3
    after five steps).
    """
    for state in optimizer.state.values():
        if hasattr(state.get("step"), "clone"):
            state["step"] = state["step"].clone()


def last_losses(history: list[dict[str, float]]) -> list[float]:
    """Return the losses of the last few steps, from the trainer's log."""
    return [entry["loss"] for entry in history if "loss" in entry][-5:]


def refuse_divergence(facts: StepFacts, before: list[float]) -> None:
    """Raise :class:`TrainingDiverged` when loss or gradient is no finite number."""
    if math.isfinite(facts.loss) and math.isfinite(facts.grad_norm):
        return
    losses = ", ".join(f"{loss:.4g}" for loss in before) or "none"
    raise TrainingDiverged(
        f"training diverged at step {facts.step}: loss {facts.loss}, gradient norm"
        f" {facts.grad_norm}; losses before: {losses}. No checkpoint was written after it. Try a"
        " lower training.learning_rate, some training.warmup_share, or precision: fp32; then run"
        " again (a change of these trains anew)."
    )


@contextmanager
def gathered_model(trainer: Any) -> Iterator[Any]:
    """Give a plain model to generate with; under ZeRO-3 its shards are gathered meanwhile.

    Every rank must enter. TRL takes DeepSpeed's hooks off and puts them back: a ZeRO-3 model that
    generates with them on cannot train on (measured: the next backward pass finds no weights).
    """
    from trl.models import unwrap_model_for_generation

    how = trainer.args.gradient_checkpointing_kwargs
    with (
        restored_recomputing(trainer.model),
        unwrap_model_for_generation(
            trainer.model_wrapped, trainer.accelerator, gradient_checkpointing_kwargs=how
        ) as model,
    ):
        yield model


def make_blank_tokenizer() -> Any:
    """Return a tokenizer that knows nothing: TRL wants one, and must not render or change ids.

    transformers copies a tokenizer's special tokens into the model's configuration; a blank one
    has none to copy.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"?": 0}, unk_token="?")))
