"""Builds the graph of a run backwards from what is asked for, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

from flows.recipe.evaluation_nodes import EvaluationNodes
from flows.recipe.settings import Settings, dump_settings
from flows.recipe.stages import reaches
from infra.context import RunContext
from infra.errors import ConfigError, Problem
from infra.generation.reruns import Reruns, read_reruns
from infra.nodes.node import Node
from infra.store.manifests import NodeRef, NodeSpec, refer_to
from tasks.characters.nodes import Characters, TakenCharacters
from tasks.curation.nodes import Curation
from tasks.dialogues.nodes import Dialogues, TakenDialogues
from tasks.dialogues.strategies import STRATEGIES, choose_strategies
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.judging.nodes import (
    Anchors,
    JudgeCalibration,
    JudgeExamples,
    Judgements,
    JudgeProbe,
)
from tasks.evaluation.nodes import Abilities, Answers, Attributions, Scores
from tasks.evaluation.questions.nodes import Questions, QuestionSettings, QuestionTexts
from tasks.evaluation.questions.personagym import name_question_folder
from tasks.export.nodes import Export
from tasks.instructions.nodes import Guesses, Instructions
from tasks.personas.nodes import Personas
from tasks.publishing.nodes import Publication
from tasks.records import CONTROL, TUNED
from tasks.reporting.nodes import Report
from tasks.training.config import TrainingConfig
from tasks.training.nodes import Encoding, Training
from tasks.training.origins import Origins, Upstream

N = TypeVar("N", bound=Node)

KINDS: tuple[type[Node], ...] = (
    Personas,
    Instructions,
    Guesses,
    Characters,
    TakenCharacters,
    Dialogues,
    TakenDialogues,
    Curation,
    Export,
    Encoding,
    Training,
    QuestionSettings,
    QuestionTexts,
    Questions,
    Answers,
    JudgeExamples,
    JudgeCalibration,
    JudgeProbe,
    Anchors,
    Judgements,
    Attributions,
    Abilities,
    Scores,
    Report,
    Publication,
)
"""Every kind of node there is, in the order of the paper."""


class Graph:
    """Nodes of a run, upstream first, each name once."""

    def __init__(self, targets: Iterable[Node]) -> None:
        """Collect the targets and all that they read.

        Raises :class:`ConfigError` for two nodes of one name: one of them would be lost, the
        other counted twice.
        """
        found = collect(targets)
        counted = Counter(node.name for node in found)
        twice = [name for name, count in counted.items() if count > 1]
        if twice:
            what = f"two of its nodes would be called {', and two '.join(twice)}"
            raise ConfigError(Problem("the run", what, "rename one of the models that they name"))
        self._nodes = {node.name: node for node in found}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def find(self, kind: type[N]) -> list[N]:
        """Return the nodes of a class."""
        return [node for node in self if isinstance(node, kind)]

    def find_one(self, kind: type[N]) -> N | None:
        """Return the first node of a class, which is the only one of most."""
        return next(iter(self.find(kind)), None)

    def specs(self) -> list[NodeSpec]:
        """Return all nodes as they are made now."""
        return [node.spec for node in self]

    def references(self) -> dict[str, NodeRef]:
        """Return the references of the nodes that are done, by name."""
        return {node.name: refer_to(found) for node in self if (found := node.find())}

    def up_to(self, stage: str) -> Graph:
        """Return the part of it that a run makes which ends with a stage."""
        return Graph(node for node in self if reaches(stage, node.stage))


def collect(targets: Iterable[Node]) -> list[Node]:
    """Return nodes and all that they read, each once, in the order of :data:`KINDS`."""
    found: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in found:
            for read in node.reads():
                visit(read)
            found[id(node)] = node

    for target in targets:
        visit(target)
    return sorted(found.values(), key=lambda node: KINDS.index(type(node)))


def build_graph(
    settings: Settings,
    context: RunContext,
    reruns: Reruns | None = None,
    until: str = "report",
) -> Graph:
    """Build the graph of a run, up to a stage.

    ``reruns`` says which nodes are made again; what the store keeps of that, if it is left out.
    """
    return GraphBuilder(settings, context, reruns, until).build().up_to(until)


class GraphBuilder:
    """Builder of nodes: each is made when something asks for it, and once."""

    def __init__(
        self,
        settings: Settings,
        context: RunContext,
        reruns: Reruns | None = None,
        until: str = "report",
    ) -> None:
        self.settings = settings
        self.context = context
        self.until = until
        self.reruns = read_reruns(context.storage) if reruns is None else reruns

    def build(self) -> Graph:
        """Return the graph of a whole run: data set, model, scores, and the page of them all."""
        asked = (self.export, self.training, self.scores)
        shown = collect(node for node in asked if node is not None)
        last = (self.report(shown), self.publication)
        return Graph(node for node in last if node is not None)

    def build_scores(self) -> Graph:
        """Return the graph of an evaluation alone: what scores need, and a page of it."""
        if self.scores is None:
            todo = "add the section, such as the one of configs/demo.yaml"
            raise ConfigError(Problem("evaluation", "this configuration has none", todo))
        return Graph([self.report(collect([self.scores]))])

    def node(self, kind: type[N], **fields: Any) -> N:
        """Make a node of a kind."""
        return kind(context=self.context, reruns=self.reruns, **fields)

    @cached_property
    def personas(self) -> Node:
        """Return who there is."""
        return self.node(Personas, config=self.settings.personas)

    @cached_property
    def instructions(self) -> list[Node]:
        """Return what is asked: none where dialogues are brought; guesses last."""
        config = self.settings.instructions
        if self.settings.dialogues.rows is not None:
            return []
        imported: list[Node] = [self.node(Instructions, config=config)]
        synthesis = config.synthesis
        if not synthesis.count:
            return imported
        guesses = self.node(Guesses, config=synthesis, role=synthesis.model, personas=self.personas)
        return [*imported, guesses]

    @cached_property
    def characters(self) -> Node:
        """Return who plays."""
        config = self.settings.characters
        if config.rows is not None:
            return self.node(
                TakenCharacters, config=config, source=config.rows, personas=self.personas
            )
        return self.node(Characters, config=config, role=config.model, personas=self.personas)

    @cached_property
    def dialogues(self) -> list[Node]:
        """Return what is played, a node a strategy, or what is brought."""
        config = self.settings.dialogues
        if config.rows is not None:
            sampled = self.settings.personas.sample is not None
            return [
                self.node(
                    TakenDialogues,
                    config=config,
                    source=config.rows,
                    characters=self.characters,
                    sampled=sampled,
                )
            ]
        return [
            self.node(
                Dialogues,
                strategy=STRATEGIES[name],
                config=knobs,
                role=knobs.model,
                pairing=config,
                characters=self.characters,
                # Guessed instructions have no source answers.
                instructions=self.instructions[: 1 if STRATEGIES[name].needs_answers else None],
            )
            for name, knobs in choose_strategies(config).items()
        ]

    @cached_property
    def curation(self) -> Node:
        """Return the SFT rows."""
        return self.node(
            Curation,
            config=self.settings.curation,
            dialogues=self.dialogues,
            characters=self.characters,
            instructions=self.instructions,
            benchmark=find_benchmark(self.settings.evaluation),
        )

    @cached_property
    def export(self) -> Export:
        """Return the data set."""
        return self.node(
            Export,
            config=self.settings.export,
            examples=self.curation,
            dialogues=self.dialogues,
            characters=self.characters,
            instructions=self.instructions,
            personas=self.personas,
        )

    @cached_property
    def training(self) -> Training | None:
        """Return the model, if this run trains one."""
        config = self.settings.training
        return None if config is None else self._train(config, TUNED)

    @cached_property
    def control(self) -> Training | None:
        """Return the model that learns from the same answers under others' profiles."""
        config = self.settings.training
        if config is None or self.training is None:
            return None
        shuffled = config.model_copy(update={"control": "shuffled_profiles", "gguf": "none"})
        return self._train(shuffled, CONTROL, after=[self.training])

    def _train(self, config: TrainingConfig, role: str, after: Sequence[Training] = ()) -> Training:
        funnel = [self.personas, *self.instructions, self.characters]
        evaluation = self.settings.evaluation if reaches(self.until, "evaluation") else None
        judges = evaluation.judges if evaluation else ()
        return self.node(
            Training,
            config=config,
            encoding=self.node(Encoding, config=config, examples=self.curation, role=role),
            examples=self.curation,
            funnel=[*funnel, *self.dialogues, self.curation],
            origins=list_origins(self.settings),
            asked_later=[judge.model for judge in judges],
            role=role,
            after=after,
        )

    @cached_property
    def scores(self) -> Node | None:
        """Return the score table, if this run has an evaluation."""
        config = self.settings.evaluation
        return None if config is None else EvaluationNodes(self, config).scores

    def report(self, shown: Sequence[Node]) -> Report:
        """Return the page of some nodes."""
        return self.node(
            Report,
            config=self.settings.report,
            shown=shown,
            config_text=dump_settings(self.settings),
        )

    @cached_property
    def publication(self) -> Publication | None:
        """Return what pushes the run to a hub, if it is to be."""
        config = self.settings.publish
        if not config.enabled:
            return None
        return self.node(
            Publication,
            config=config,
            export=self.export,
            training=self.training,
            run_name=self.settings.run.name,
        )


def find_benchmark(config: EvaluationConfig | None) -> str | None:
    """Return the folder of static questions that an evaluation asks, if it asks such."""
    if config is None or config.questions.suite != "personagym":
        return None
    return name_question_folder(str(config.questions.path))


def list_origins(settings: Settings) -> Origins:
    """Say what the model comes from: teachers and sources, with the licences that are known."""
    known = settings.export.licences
    roles = {settings.characters.model} if settings.characters.source is None else set()
    roles |= {knobs.model for knobs in choose_strategies(settings.dialogues).values()}
    if settings.instructions.synthesis.count:
        roles.add(settings.instructions.synthesis.model)
    teachers = [
        Upstream(settings.models[role].model.rstrip("/").rsplit("/", 1)[-1], "teacher")
        for role in sorted(roles)
    ]
    sources = [
        Upstream(name, "personas" if name == "personas" else "instructions", licence)
        for name, licence in sorted(known.items())
    ]
    return Origins(settings.run.name, (*teachers, *sources))
