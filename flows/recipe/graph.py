"""Names every node of a run before it runs, so that `plan` and the flow agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from flows.recipe.evaluation_graph import EvaluationGraph, draw_evaluation
from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.errors import ConfigError, Problem
from infra.generation.reruns import read_reruns
from infra.store.manifests import NodeSpec
from tasks.characters.task import describe_characters
from tasks.curation.task import describe_curation
from tasks.dialogues.task import describe_dialogues, describe_given_dialogues
from tasks.export.task import describe_export
from tasks.instructions.task import describe_guesses, describe_instructions
from tasks.personas.task import describe_personas
from tasks.publishing.task import describe_publish
from tasks.reporting.task import describe_report
from tasks.training.task import describe_encoding, describe_training


@dataclass(frozen=True)
class Graph:
    """Every node of a run; the order of fields is the order of the paper."""

    personas: NodeSpec
    instructions: NodeSpec | None
    guesses: NodeSpec | None
    characters: NodeSpec
    dialogues: dict[str, NodeSpec]
    curation: NodeSpec
    export: NodeSpec
    encoding: NodeSpec | None
    training: NodeSpec | None
    evaluation: EvaluationGraph | None
    report: NodeSpec
    publish: NodeSpec | None

    def __post_init__(self) -> None:
        """Refuse two nodes of one name: one of them would be lost, the other counted twice."""
        counted = Counter(node.stage for node in self.nodes())
        twice = [name for name, count in counted.items() if count > 1]
        if twice:
            what = f"two of its nodes would be called {', and two '.join(twice)}"
            raise ConfigError(Problem("the run", what, "rename one of the models that they name"))

    def funnel(self) -> list[str]:
        """Return the names of the nodes that lead from personas to SFT rows."""
        nodes = (self.personas, self.instructions, self.guesses, self.characters)
        rows = [*nodes, *self.dialogues.values(), self.curation]
        return [node.stage for node in rows if node is not None]

    def nodes(self) -> list[NodeSpec]:
        """Return the nodes that this run has, upstream first."""
        nodes = (
            self.personas,
            self.instructions,
            self.guesses,
            self.characters,
            *self.dialogues.values(),
            self.curation,
            self.export,
            self.encoding,
            self.training,
            *(self.evaluation.nodes() if self.evaluation else ()),
            self.report,
            self.publish,
        )
        return [node for node in nodes if node is not None]


def build_graph(
    settings: Settings, context: RunContext, made: Callable[[NodeSpec], NodeSpec] | None = None
) -> Graph:
    """Fingerprint the nodes, upstream first.

    ``made`` says how a node is made again; what the store keeps of that, if it is left out.
    """
    if made is None:
        made = read_reruns(context.storage).apply
    personas = made(describe_personas(settings.personas))
    asked, own = [], settings.dialogues.rows
    instructions = guesses = None
    if own is None:
        instructions = made(describe_instructions(settings.instructions))
        asked.append(instructions)
        if settings.instructions.synthesis.count:
            guesses = made(describe_guesses(settings.instructions.synthesis, context, personas))
            asked.append(guesses)
    characters = made(describe_characters(settings.characters, context, personas))
    if own is not None:
        dialogues = {"given": made(describe_given_dialogues(own, characters))}
    else:
        # Rewriting needs source answers, which guessed instructions do not have.
        questions = {"generate": asked, "rewrite": asked[:1]}
        dialogues = {
            name: made(describe_dialogues(name, settings.dialogues, context, [characters, *read]))
            for name, read in questions.items()
            if getattr(settings.dialogues, name) is not None
        }
    played = [*dialogues.values(), characters, *asked]
    curation = made(describe_curation(settings.curation, played))
    export = made(describe_export(settings.export, [curation, *played]))
    encoding = training = None
    if settings.training is not None:
        encoding = made(describe_encoding(settings.training, context, curation))
        training = made(describe_training(settings.training, context, encoding))
    shown = [personas, *asked, characters, *dialogues.values(), curation, export]
    shown += [node for node in (encoding, training) if node is not None]
    evaluation = None
    if settings.evaluation is not None:
        evaluation = draw_evaluation(
            settings,
            settings.evaluation,
            context,
            made,
            curation=curation,
            characters=characters,
            training=training,
        )
        shown += evaluation.nodes()
    return Graph(
        personas=personas,
        instructions=instructions,
        guesses=guesses,
        characters=characters,
        dialogues=dialogues,
        curation=curation,
        export=export,
        encoding=encoding,
        training=training,
        evaluation=evaluation,
        report=made(describe_report(settings.report, shown)),
        publish=made(describe_publish(settings.publish, export, training))
        if settings.publish.enabled
        else None,
    )
