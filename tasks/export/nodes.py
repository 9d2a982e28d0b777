"""Offers the node that writes the data set and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import polars as pl

from infra.nodes.node import NAMED, JobNode, JobOutput, Node
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.store.fingerprints import hash_parts
from infra.store.manifests import Manifest
from tasks.export.card import Count, PromptFacts, Provenance, SourceFacts, StageFacts
from tasks.export.config import ExportConfig
from tasks.records import Dialogue


@dataclass(frozen=True, kw_only=True, eq=False)
class Export(JobNode):
    """Data set of a run: a folder that ``datasets.load_dataset`` opens."""

    kind = "export"
    stage = "export"
    version = 1
    record = Dialogue

    config: ExportConfig
    examples: Node
    dialogues: Sequence[Node]
    characters: Node
    instructions: Sequence[Node]
    personas: Node = field(metadata=NAMED)

    @property
    def folder(self) -> str:
        """Return where the data set lies below the storage root."""
        return f"{self.spec.folder}/{self.spec.fingerprint}"

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs and the card's template."""
        return {**self.config.knob_values("identity"), "card": self._card}

    def run(self, given: Rows) -> JobOutput:
        """Write the data set and its card."""
        from tasks.export.dataset import DIALOGUE_COLUMNS, export_dataset

        played = given.frames(self.dialogues, DIALOGUE_COLUMNS)
        order = (
            self.personas, *self.instructions, self.characters, *self.dialogues, self.examples
        )  # fmt: skip
        manifests = [node.manifest for node in order]
        corpora = given.frames(self.instructions, columns=["corpus"])
        written = export_dataset(
            self.context.storage,
            self.folder,
            characters=given.frame(self.characters),
            dialogues=played,
            examples=given.frame(self.examples),
            config=self.config,
            card_template=self._card,
            provenance=Provenance(
                run=self.spec.fingerprint[:12],
                teachers=tuple(sorted(set(played["teacher"].to_list()))) if played.height else (),
                demo_teacher=self.context.uses_demo_models(),
                sources=_list_sources(manifests[0].counts.accepted, corpora, played),
                prompts=tuple(_list_prompts(manifests)),
                stages=tuple(_describe_stage(manifest) for manifest in manifests),
            ),
        )
        return JobOutput(
            written.files,
            written.dialogue_rows,
            facts={
                "folder": self.folder,
                "characters": written.characters,
                "dialogues": written.dialogues,
                "sft_rows": written.sft_rows,
            },
        )

    @property
    def _card(self) -> str:
        return require_path(self.config.card, "export.card").read_text(encoding="utf-8")


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
