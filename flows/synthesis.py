"""Chains the synthesis half: personas to characters to dialogues to a data set."""

from __future__ import annotations

from dataclasses import dataclass

from prefect.futures import PrefectFuture

from flows.graph import Graph
from flows.settings import Settings
from infra.bench import Bench
from infra.manifests import NodeRef
from tasks.characters.task import write_characters
from tasks.curation.task import curate_dialogues
from tasks.dialogues.task import play_dialogues
from tasks.export.task import export_dataset
from tasks.instructions.task import guess_instructions, import_instructions
from tasks.personas.task import select_personas
from tasks.reporting.task import write_report

STAGES = ("personas", "instructions", "characters", "dialogues", "curation", "export", "report")


@dataclass(frozen=True)
class Synthesis:
    """Holds the futures of the nodes that were started, in order."""

    futures: dict[str, PrefectFuture[NodeRef]]

    def collect(self) -> dict[str, NodeRef]:
        """Wait for every node; raise the error of the first that failed, upstream first."""
        for future in self.futures.values():
            future.wait()
        return {name: future.result() for name, future in self.futures.items()}


def synthesise(bench: Bench, settings: Settings, graph: Graph, until: str = "report") -> Synthesis:
    """Start the nodes in the paper's order; Prefect runs each when its inputs are done."""
    started: dict[str, PrefectFuture[NodeRef]] = {}
    retry, last = settings.retry, STAGES.index(until)

    personas = select_personas.submit(bench, graph.personas, retry, settings.personas)
    started["personas"] = personas
    if last < STAGES.index("instructions"):
        return Synthesis(started)

    imported = import_instructions.submit(bench, graph.instructions, retry, settings.instructions)
    started["instructions"] = imported
    questions = {"rewrite": [imported], "generate": [imported]}
    if graph.guesses is not None:
        guessed = guess_instructions.submit(
            bench, graph.guesses, retry, settings.instructions.synthesis, personas
        )
        started["guesses"] = guessed
        questions["generate"] = [imported, guessed]
    if last < STAGES.index("characters"):
        return Synthesis(started)

    characters = write_characters.submit(
        bench, graph.characters, retry, settings.characters, personas
    )
    started["characters"] = characters
    if last < STAGES.index("dialogues"):
        return Synthesis(started)

    played = []
    for strategy, node in graph.dialogues.items():
        dialogues = play_dialogues.submit(
            bench, node, retry, strategy, settings.dialogues, characters, questions[strategy]
        )
        started[f"dialogues_{strategy}"] = dialogues
        played.append(dialogues)
    if last < STAGES.index("curation"):
        return Synthesis(started)

    asked = questions["generate"]
    curated = curate_dialogues.submit(
        bench, graph.curation, retry, settings.curation, played, characters, asked
    )
    started["curation"] = curated
    if last < STAGES.index("export"):
        return Synthesis(started)

    exported = export_dataset.submit(
        bench, graph.export, retry, settings.export, curated, played, characters, asked, personas
    )
    started["export"] = exported
    if last < STAGES.index("report"):
        return Synthesis(started)

    shown = [personas, *asked, characters, *played, curated, exported]
    started["report"] = write_report.submit(
        bench, graph.report, retry, settings.report, shown, characters, played
    )
    return Synthesis(started)
