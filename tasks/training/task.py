"""Offers the nodes that turn SFT rows into token files, and token files into a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.cluster.ray_train import count_needs
from infra.context import RunContext, model_identity
from infra.orchestration.tasks import node_task
from infra.progress import JobProgress
from infra.rendering.encoder import load_tokenizer
from infra.store.manifests import (
    NodeRef,
    NodeSpec,
    PartRef,
    digest_bytes,
    read_manifest,
    refer_to_file,
    write_table,
)
from infra.store.reading import read_accepted_frame
from infra.store.schema import to_table
from infra.store.set_store import revive, write_set_manifest
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

VERSIONS = {"encoding": 1, "training": 1}

_FREE_MEMORY = 0.5
_ENCODING_KNOBS = ("template", "max_length", "packing", "seed", "control")


def describe_encoding(config: TrainingConfig, context: RunContext, curation: NodeSpec) -> NodeSpec:
    """Name the node from the knobs that change token rows, the templates and the tokenizer."""
    knobs = config.knob_values("identity")
    return NodeSpec.build(
        "encoding",
        VERSIONS["encoding"],
        identity={
            **{name: knobs[name] for name in _ENCODING_KNOBS},
            "templates": read_templates(),
            "model": model_identity(context.models[config.model]),
        },
        selection=config.knob_values("selection"),
        upstream=[curation],
    )


def describe_training(config: TrainingConfig, context: RunContext, encoding: NodeSpec) -> NodeSpec:
    """Name the node from the knobs of training, the base model and the rows it reads."""
    return NodeSpec.build(
        "training",
        VERSIONS["training"],
        identity={
            **config.knob_values("identity"),
            "model": model_identity(context.models[config.model]),
        },
        selection={},
        upstream=[encoding],
    )


@node_task("encoding")
def encode_rows(
    context: RunContext, node: NodeSpec, config: TrainingConfig, examples: NodeRef
) -> NodeRef:
    """Render, tokenise and pack the SFT rows; leave out those that are too long."""
    began = time.monotonic()
    rows = read_accepted_frame(context.storage, examples)
    if config.control == "shuffled_profiles":
        rows = shuffle_profiles(rows, config.seed)
    model = context.models[config.model]
    with TemporaryDirectory() as scratch:
        encoded = encode_examples(
            rows, config, model=model.model, revision=model.revision, folder=Path(scratch)
        )
        parts = _write_parts(context, node, encoded)
    chat = encoded.chat_format
    return write_set_manifest(
        context.storage,
        node,
        parts,
        accepted=encoded.accepted,
        reasons=encoded.reasons,
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={**encoded.facts(), "pad_id": chat.pad_id, "stop_id": chat.stop_id},
    )


@node_task("training")
def train_model(
    context: RunContext,
    node: NodeSpec,
    config: TrainingConfig,
    encoded: NodeRef,
    examples: NodeRef,
    funnel: Sequence[NodeRef],
    origins: Origins,
    asked_later: Sequence[str],
) -> NodeRef:
    """Fine-tune the base model, export it, and check that what was exported is what was trained.

    Engines leave before the ranks start, but those of the models in ``asked_later``, which stay
    where they hold nothing that the ranks need.
    """
    began = time.monotonic()
    manifest = read_manifest(context.storage, encoded.manifest)
    job = _describe_job(context, node, config, {part.holds: part for part in manifest.parts})
    job = replace(job, pad_id=manifest.facts["pad_id"], stop_id=manifest.facts["stop_id"])
    rows = read_accepted_frame(context.storage, examples)
    count = config.samples.characters
    cast = revive(Example, rows)
    job = replace(job, probes=choose_ending_probes(job, choose_chat(job), cast, count))
    context.pool.dismiss(asked_later)
    context.ranks = choose_ranks(config, context.cluster.devices())
    need = count_needs(context.cluster, context.ranks)
    with context.pool.make_room("training", need, memory_share=_FREE_MEMORY):
        outcome = run_job(job, context.cluster, stop=context.stop, on_progress=_tell(context))
    finishing = Finishing(
        context=context, node=node, job=job, outcome=outcome, funnel=funnel, origins=origins
    )
    finished = finish_model(finishing, manifest, cast)
    return write_set_manifest(
        context.storage,
        node,
        finished.parts,
        accepted=manifest.counts.accepted,
        reasons={},
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts=finished.facts,
    )


def check_training(config: TrainingConfig, context: RunContext) -> None:
    """Raise :class:`ConfigError` for a base model or knobs that training could not start with.

    Loads the tokenizer, which takes seconds: for runs that will train, before any engine starts.
    """
    model = context.models[config.model]
    choose_format(load_tokenizer(model.model, model.revision), config.template)


def _describe_job(
    context: RunContext, node: NodeSpec, config: TrainingConfig, parts: dict[str, PartRef]
) -> TrainJob:
    model = context.models[config.model]
    validation = parts["validation"]
    return TrainJob(
        fingerprint=node.fingerprint,
        base=model.model,
        revision=model.revision,
        base_identity=model_identity(model),
        storage_root=context.storage.root,
        folder=node.folder,
        train=parts["train"],
        validation=validation if validation.rows else None,
        pad_id=None,
        stop_id=-1,
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
