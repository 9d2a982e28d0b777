"""Chains the synthesis half: personas to characters to dialogues to a data set."""

from __future__ import annotations

from prefect.futures import PrefectFuture

from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from flows.recipe.stages import STAGES, Started
from infra.context import RunContext
from infra.orchestration.tasks import await_node
from infra.store.manifests import NodeRef
from tasks.characters.task import write_characters
from tasks.curation.task import curate_dialogues
from tasks.dialogues.task import play_dialogues, require_cast, take_given_dialogues
from tasks.export.task import export_dataset
from tasks.instructions.task import guess_instructions, import_instructions
from tasks.personas.task import select_personas


def synthesise(context: RunContext, settings: Settings, graph: Graph, until: str) -> Started:
    """Start the nodes in the paper's order; Prefect runs each when its inputs are done."""
    started = Started()
    retry, last = settings.retry, STAGES.index(until)

    personas = select_personas.submit(context, graph.personas, retry, settings.personas)
    started["personas"] = personas
    if last < STAGES.index("instructions"):
        return started

    if last >= STAGES.index("dialogues") and settings.dialogues.source is None:
        _check_cast(settings, personas)

    asked: list[PrefectFuture[NodeRef]] = []
    if graph.instructions is not None:
        imported = import_instructions.submit(
            context, graph.instructions, retry, settings.instructions
        )
        started["instructions"] = imported
        asked.append(imported)
    if graph.guesses is not None:
        guessed = guess_instructions.submit(
            context, graph.guesses, retry, settings.instructions.synthesis, personas
        )
        started["guesses"] = guessed
        asked.append(guessed)
    if last < STAGES.index("characters"):
        return started

    characters = write_characters.submit(
        context, graph.characters, retry, settings.characters, personas
    )
    started["characters"] = characters
    if last < STAGES.index("dialogues"):
        return started

    played, own = [], settings.dialogues.rows
    sampled = settings.personas.sample is not None
    questions = {"generate": asked, "rewrite": asked[:1]}
    for strategy, node in graph.dialogues.items():
        dialogues = (
            play_dialogues.submit(
                context, node, retry, strategy, settings.dialogues, characters, questions[strategy]
            )
            if own is None
            else take_given_dialogues.submit(
                context, node, retry, settings.dialogues, characters, sampled
            )
        )
        started[f"dialogues_{strategy}"] = dialogues
        played.append(dialogues)
    if last < STAGES.index("curation"):
        return started

    curated = curate_dialogues.submit(
        context, graph.curation, retry, settings.curation, played, characters, asked
    )
    started["curation"] = curated
    if last < STAGES.index("export"):
        return started

    exported = export_dataset.submit(
        context, graph.export, retry, settings.export, curated, played, characters, asked, personas
    )
    started["export"] = exported
    return started


def _check_cast(settings: Settings, personas: PrefectFuture[NodeRef]) -> None:
    """Raise :class:`ConfigError` before a model is asked, if there are too few for a question."""
    personas.wait()
    if personas.state.is_completed():  # else its own error is the one to tell
        require_cast(settings.dialogues.characters_per_question, await_node(personas).accepted)
