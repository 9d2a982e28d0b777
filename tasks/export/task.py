"""Offers the node that writes the data set and its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import polars as pl

from infra.context import RunContext
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.store.fingerprints import hash_parts
from infra.store.manifests import Manifest, NodeRef, NodeSpec, read_manifest
from infra.store.reading import read_accepted_frame, read_frames
from infra.store.set_store import write_set_manifest
from tasks.export.card import Count, PromptFacts, Provenance, SourceFacts, StageFacts
from tasks.export.config import ExportConfig
from tasks.export.dataset import export_dataset as write_dataset

VERSION = 1


def describe_export(config: ExportConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the node from its knobs, the card's template and what it reads."""
    return NodeSpec.build(
        "export",
        VERSION,
        identity={**config.knob_values("identity"), "card": _read_card(config)},
        selection=config.knob_values("selection"),
        upstream=upstream,
    )


@node_task("export")
def export_dataset(
    context: RunContext,
    node: NodeSpec,
    config: ExportConfig,
    examples: NodeRef,
    dialogues: Sequence[NodeRef],
    characters: NodeRef,
    instructions: Sequence[NodeRef],
    personas: NodeRef,
) -> NodeRef:
    """Write the data set of the run as a folder that ``datasets.load_dataset`` opens."""
    began = time.monotonic()
    storage = context.storage
    played = read_frames(storage, dialogues)
    order = (personas, *instructions, characters, *dialogues, examples)
    manifests = [read_manifest(storage, reference.manifest) for reference in order]
    written = write_dataset(
        storage,
        export_folder(node),
        characters=read_accepted_frame(storage, characters),
        dialogues=played,
        examples=read_accepted_frame(storage, examples),
        config=config,
        card_template=_read_card(config),
        provenance=Provenance(
            run=node.fingerprint[:12],
            teachers=tuple(sorted(set(played["teacher"].to_list()))) if played.height else (),
            demo_teacher=context.uses_demo_models(),
            sources=_list_sources(
                personas.accepted, read_frames(storage, instructions, columns=["corpus"]), played
            ),
            prompts=tuple(_list_prompts(manifests)),
            stages=tuple(_describe_stage(manifest) for manifest in manifests),
        ),
    )
    return write_set_manifest(
        storage,
        node,
        written.files,
        accepted=written.dialogue_rows,
        reasons={},
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={
            "folder": export_folder(node),
            "characters": written.characters,
            "dialogues": written.dialogues,
            "sft_rows": written.sft_rows,
        },
    )


def export_folder(node: NodeSpec) -> str:
    """Return where the data set lies below the storage root."""
    return f"{node.folder}/{node.fingerprint}"


def _read_card(config: ExportConfig) -> str:
    return require_path(config.card, "export.card").read_text(encoding="utf-8")


def _list_sources(
    personas: int, instructions: pl.DataFrame, played: pl.DataFrame
) -> tuple[SourceFacts, ...]:
    """Name where rows came from; dialogues that were brought name questions that were not."""
    asked, answered = _count_corpora(instructions), _count_corpora(played)
    return (
        SourceFacts("personas", "personas", personas),
        *(SourceFacts(name, "instructions", rows) for name, rows in asked.items()),
        *(
            SourceFacts(name, "dialogues", rows)
            for name, rows in answered.items()
            if name not in asked
        ),
    )


def _count_corpora(frame: pl.DataFrame) -> dict[str, int]:
    counts = frame["corpus"].value_counts().sort("corpus").rows() if frame.height else ()
    return {str(name): int(rows) for name, rows in counts}


def _list_prompts(manifests: Sequence[Manifest]) -> list[PromptFacts]:
    return [
        PromptFacts(manifest.stage, hash_parts(cast(str, manifest.identity["prompt"])))
        for manifest in manifests
        if "prompt" in manifest.identity
    ]


def _describe_stage(manifest: Manifest) -> StageFacts:
    reasons = tuple(Count(name, rows) for name, rows in manifest.reasons.items())
    counts = manifest.counts
    return StageFacts(manifest.stage, counts.planned, counts.accepted, reasons)
