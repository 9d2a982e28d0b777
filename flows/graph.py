"""Names every node of a run before it runs, so that `plan` and the flow agree."""

from __future__ import annotations

from dataclasses import dataclass

from flows.settings import Settings
from infra.bench import Bench
from infra.manifests import NodeSpec
from tasks.characters.task import describe_characters
from tasks.curation.task import describe_curation
from tasks.dialogues.task import describe_dialogues
from tasks.export.task import describe_export
from tasks.instructions.task import describe_guesses, describe_instructions
from tasks.personas.task import describe_personas
from tasks.reporting.task import describe_report


@dataclass(frozen=True)
class Graph:
    """Is every node of a run; the order of fields is the order of the paper."""

    personas: NodeSpec
    instructions: NodeSpec
    guesses: NodeSpec | None
    characters: NodeSpec
    dialogues: dict[str, NodeSpec]
    curation: NodeSpec
    export: NodeSpec
    report: NodeSpec

    def nodes(self) -> list[NodeSpec]:
        """Return the nodes that this run has, upstream first."""
        guesses = [self.guesses] if self.guesses else []
        return [
            self.personas,
            self.instructions,
            *guesses,
            self.characters,
            *self.dialogues.values(),
            self.curation,
            self.export,
            self.report,
        ]


def draw_graph(settings: Settings, bench: Bench) -> Graph:
    """Fingerprint the nodes, upstream first."""
    personas = describe_personas(settings.personas)
    instructions = describe_instructions(settings.instructions)
    guesses = (
        describe_guesses(settings.instructions.synthesis, bench, personas)
        if settings.instructions.synthesis.count
        else None
    )
    characters = describe_characters(settings.characters, bench, personas)
    strategies = {
        "generate": settings.dialogues.generate,
        "rewrite": settings.dialogues.rewrite,
    }
    dialogues = {
        name: describe_dialogues(
            name,
            settings.dialogues,
            bench,
            # Rewriting needs source answers, which guessed instructions do not have.
            [characters, instructions, *([guesses] if guesses and name == "generate" else [])],
        )
        for name, config in strategies.items()
        if config is not None
    }
    asked = [instructions, *([guesses] if guesses else [])]
    curation = describe_curation(settings.curation, [*dialogues.values(), characters, *asked])
    export = describe_export(settings.export, [curation, *dialogues.values(), characters, *asked])
    shown = [personas, *asked, characters, *dialogues.values(), curation, export]
    report = describe_report(settings.report, shown)
    return Graph(personas, instructions, guesses, characters, dialogues, curation, export, report)
