"""Offers the nodes that turn SFT rows into token files, and token files into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.cluster.ray_train import count_needs
from infra.context import RunContext, model_identity
from infra.engines.config import ModelConfig
from infra.nodes.node import NAMED, JobNode, JobOutput, Node
from infra.nodes.rows import Rows
from infra.progress import JobProgress
from infra.rendering.encoder import load_tokenizer
from infra.store.manifests import NodeSpec, PartRef, digest_bytes, refer_to_file, write_table
from infra.store.schema import to_table
from infra.store.set_store import revive
from tasks.records import Example, Rejection
from tasks.training.config import TrainingConfig
from tasks.training.model.finishing import (
    Finishing,
    Origins,
    choose_chat,
    choose_ending_probes,
    finish_model,
)
from tasks.training.ranks.deepspeed_config import load_deepspeed_config
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.launch import run_job
from tasks.training.ranks.metrics import TrainProgress
from tasks.training.rows.batching import choose_ranks
from tasks.training.rows.controls import shuffle_profiles
from tasks.training.rows.preparation import Encoded, encode_examples
from tasks.training.rows.templates import choose_format, read_templates

_FREE_MEMORY = 0.5
_ENCODING_KNOBS = ("template", "max_length", "packing", "seed", "control")


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding(JobNode):
    """Token rows of a training: rendered, tokenised and packed SFT rows."""

    kind = "encoding"
    stage = "encoding"
    version = 1
    record = Example

    config: TrainingConfig
    examples: Node

    @property
    def base(self) -> ModelConfig:
        """Return the configuration of the base model."""
        return self.context.models[self.config.model]

    def identity(self) -> Mapping[str, Any]:
        """Return the knobs that change token rows, the templates and the base model."""
        knobs = self.config.knob_values("identity")
        return {
            **{name: knobs[name] for name in _ENCODING_KNOBS},
            "templates": read_templates(),
            "model": model_identity(self.base),
        }

    def run(self, given: Rows) -> JobOutput:
        """Render, tokenise and pack the SFT rows; leave out those that are too long."""
        rows, config = given.frame(self.examples), self.config
        if config.control == "shuffled_profiles":
            rows = shuffle_profiles(rows, config.seed)
        base = self.base
        with TemporaryDirectory() as scratch:
            encoded = encode_examples(
                rows, config, model=base.model, revision=base.revision, folder=Path(scratch)
            )
            parts = _write_parts(self.context, self.spec, encoded)
        chat = encoded.chat_format
        return JobOutput(
            parts,
            encoded.accepted,
            encoded.reasons,
            facts={**encoded.facts(), "pad_id": chat.pad_id, "stop_id": chat.stop_id},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Training(JobNode):
    """Model that a run trains: the base, fine-tuned on the token rows, exported and checked.

    ``funnel`` are the nodes from personas to SFT rows, for the model card. Engines leave before
    the ranks start, but those of the roles in ``asked_later``, which stay where they hold nothing
    that the ranks need.
    """

    kind = "training"
    stage = "training"
    version = 1
    record = Example
    use = "ranks"

    config: TrainingConfig
    encoding: Node
    examples: Node = field(metadata=NAMED)
    funnel: Sequence[Node] = field(metadata=NAMED)
    origins: Origins
    asked_later: Sequence[str] = ()

    @property
    def engine(self) -> str | None:
        """Return the role of the base: the engine that checks the export is like it."""
        return self.config.model

    def identity(self) -> Mapping[str, Any]:
        """Return the knobs of training and the base model."""
        base = self.context.models[self.config.model]
        return {**super().identity(), "model": model_identity(base)}

    def selection(self) -> Mapping[str, Any]:
        """Return nothing: which rows it learns from, the token rows say."""
        return {}

    def run(self, given: Rows) -> JobOutput:
        """Fine-tune the base model, export it, and check that the export is what was trained."""
        context, config = self.context, self.config
        encoded = self.encoding.manifest
        job = self._describe_job({part.holds: part for part in encoded.parts})
        job = replace(job, pad_id=encoded.facts["pad_id"], stop_id=encoded.facts["stop_id"])
        cast = revive(Example, given.frame(self.examples))
        probes = choose_ending_probes(job, choose_chat(job), cast, config.samples.characters)
        job = replace(job, probes=probes)
        context.pool.dismiss(self.asked_later)
        context.ranks = choose_ranks(config, context.cluster.devices())
        need = count_needs(context.cluster, context.ranks)
        with context.pool.make_room("training", need, memory_share=_FREE_MEMORY):
            outcome = run_job(job, context.cluster, stop=context.stop, on_progress=_tell(context))
        finishing = Finishing(
            context=context,
            node=self.spec,
            job=job,
            outcome=outcome,
            funnel=[node.reference for node in self.funnel],
            origins=self.origins,
        )
        finished = finish_model(finishing, encoded, cast)
        return JobOutput(finished.parts, encoded.counts.accepted, facts=finished.facts)

    def _describe_job(self, parts: dict[str, PartRef]) -> TrainJob:
        base = self.context.models[self.config.model]
        validation = parts["validation"]
        return TrainJob(
            fingerprint=self.spec.fingerprint,
            base=base.model,
            revision=base.revision,
            base_identity=model_identity(base),
            storage_root=self.context.storage.root,
            folder=self.spec.folder,
            train=parts["train"],
            validation=validation if validation.rows else None,
            pad_id=None,
            stop_id=-1,
            config=self.config,
            deepspeed=load_deepspeed_config(self.config.deepspeed),
        )


def check_training(config: TrainingConfig, context: RunContext) -> None:
    """Raise :class:`ConfigError` for a base model or knobs that training could not start with.

    Loads the tokenizer, which takes seconds: for runs that will train, before any engine starts.
    """
    model = context.models[config.model]
    choose_format(load_tokenizer(model.model, model.revision), config.template)


def _tell(context: RunContext) -> Any:
    def tell(progress: TrainProgress) -> None:
        record = progress.record
        notes = [
            f"loss {record.loss:.4f}" if record.loss is not None else "",
            f"held-out loss {record.eval_loss:.4f}" if record.eval_loss is not None else "",
            f"resumed at {progress.resumed_at}" if progress.resumed_at else "",
        ]
        context.listener.stage_progress(
            JobProgress(
                stage="training",
                done=progress.step,
                total=progress.steps,
                tokens_per_s=record.tokens_per_s or 0.0,
                eta_s=progress.eta_s,
                note=", ".join(note for note in notes if note),
            ),
            finished=progress.step == progress.steps,
        )

    return tell


def _write_parts(context: RunContext, node: NodeSpec, encoded: Encoded) -> list[PartRef]:
    base = f"{node.folder}/{node.fingerprint}"
    parts = []
    for name, split in (("train", encoded.train), ("validation", encoded.validation)):
        path = f"{base}-{name}.arrow"
        context.storage.upload(path, split.path)
        digest = digest_bytes(split.path.read_bytes())
        parts.append(refer_to_file(context.storage, path, digest, split.counts.rows, name))
    rejected = to_table(Rejection, encoded.rejections)
    path = f"{base}-rejected.parquet"
    return [*parts, write_table(context.storage, path, rejected, holds="rejected")]
