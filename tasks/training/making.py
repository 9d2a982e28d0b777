"""Encodes the rows of a training and trains on them: what its nodes do when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from infra.cluster.ray_train import count_needs
from infra.context import RunContext, model_identity
from infra.nodes.node import JobOutput
from infra.progress import JobProgress
from infra.store.manifests import (
    Manifest,
    NodeRef,
    NodeSpec,
    PartRef,
    digest_bytes,
    refer_to_file,
    write_table,
)
from infra.store.schema import to_table
from infra.store.set_store import revive
from infra.temporary_folders import temporary_folder
from tasks.records import Example, Rejection
from tasks.training.config import TrainingConfig
from tasks.training.model.finishing import (
    Finishing,
    choose_chat,
    choose_ending_probes,
    finish_model,
)
from tasks.training.origins import Origins
from tasks.training.ranks.deepspeed_config import load_deepspeed_config
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.launch import run_job
from tasks.training.ranks.metrics import TrainProgress
from tasks.training.rows.batching import choose_ranks
from tasks.training.rows.controls import shuffle_profiles
from tasks.training.rows.preparation import Encoded, encode_examples

_FREE_MEMORY = 0.5


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained, on what, and who is told where it comes from.

    ``role`` is what the model is called. Engines leave before the ranks start, but those of the
    roles in ``asked_later``.
    """

    context: RunContext
    role: str
    node: NodeSpec
    config: TrainingConfig
    encoded: Manifest
    funnel: Sequence[NodeRef]
    origins: Origins
    asked_later: Sequence[str]


def encode_rows(
    context: RunContext, node: NodeSpec, config: TrainingConfig, rows: pl.DataFrame
) -> JobOutput:
    """Render, tokenise and pack the SFT rows; leave out those that are too long."""
    if config.control == "shuffled_profiles":
        rows = shuffle_profiles(rows, config.seed)
    base = context.models[config.model]
    with temporary_folder("encoding") as scratch:
        encoded = encode_examples(
            rows, config, model=base.model, revision=base.revision, folder=scratch
        )
        parts = _write_parts(context, node, encoded)
    chat = encoded.chat_format
    return JobOutput(
        parts,
        encoded.accepted,
        encoded.reasons,
        facts={**encoded.facts(), "pad_id": chat.pad_id, "stop_id": chat.stop_id},
    )


def train_model(order: TrainingOrder, examples: pl.DataFrame) -> JobOutput:
    """Fine-tune the base model, export it, and check that the export is what was trained."""
    context, config, encoded = order.context, order.config, order.encoded
    job = _describe_job(order)
    cast = revive(Example, examples)
    probes = choose_ending_probes(job, choose_chat(job), cast, config.samples.characters)
    job = replace(job, probes=probes)
    context.pool.dismiss(order.asked_later)
    context.ranks = choose_ranks(config, context.cluster.devices())
    need = count_needs(context.cluster, context.ranks)
    with context.pool.make_room("training", need, memory_share=_FREE_MEMORY):
        outcome = run_job(job, context.cluster, stop=context.stop, on_progress=_tell(context))
    finishing = Finishing(
        context=context,
        role=order.role,
        node=order.node,
        job=job,
        outcome=outcome,
        funnel=order.funnel,
        origins=order.origins,
    )
    finished = finish_model(finishing, encoded, cast)
    return JobOutput(finished.parts, encoded.counts.accepted, facts=finished.facts)


def _describe_job(order: TrainingOrder) -> TrainJob:
    context, config, facts = order.context, order.config, order.encoded.facts
    base = context.models[config.model]
    parts = {part.holds: part for part in order.encoded.parts}
    validation = parts["validation"]
    return TrainJob(
        fingerprint=order.node.fingerprint,
        base=base.model,
        revision=base.revision,
        base_identity=model_identity(base),
        storage_root=context.storage.root,
        folder=order.node.folder,
        train=parts["train"],
        validation=validation if validation.rows else None,
        pad_id=facts["pad_id"],
        stop_id=facts["stop_id"],
        config=config,
        deepspeed=load_deepspeed_config(config.deepspeed),
    )


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
