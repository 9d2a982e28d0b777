"""Chains the evaluation half: questions to answers to verdicts to the score table.

What does not need the tuned model runs before training, as long as the engines of synthesis are
up; the rest runs after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect.futures import PrefectFuture

from flows.recipe.evaluation_graph import EvaluationGraph
from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from flows.recipe.stages import Started
from infra.context import RunContext
from infra.store.manifests import NodeRef
from tasks.evaluation.config import TUNED, EvaluationConfig
from tasks.evaluation.task import (
    answer_questions,
    attribute_answers,
    calibrate_judge,
    choose_settings,
    gather_questions,
    judge_answers,
    measure_general_abilities,
    score_models,
    write_questions,
    write_score_examples,
)

Future = PrefectFuture[NodeRef]

_ASKING = (
    "question_",
    "answers_",
    "examples_",
    "judgements_",
    "calibration_",
    "attribution_",
    "abilities_",
)
"""What the names of nodes begin with that ask a model or load one."""


@dataclass(frozen=True)
class Evaluation:
    """Starter of the nodes of evaluation, before and after there is a tuned model."""

    context: RunContext
    settings: Settings
    config: EvaluationConfig
    graph: EvaluationGraph
    started: Started
    examples: dict[str, Future] = field(default_factory=dict)

    def ask_before_training(self) -> None:
        """Start the questions, the judges' own work, and every model that is there already."""
        self.write_questions()
        for judge in self.config.judges:
            role = judge.model
            if role in self.graph.calibrations:
                node = self.graph.calibrations[role]
                self.started[node.stage] = calibrate_judge.submit(
                    self.context, node, self.settings.retry, judge, self.config.questions
                )
            if role in self.graph.examples:
                node = self.graph.examples[role]
                self.examples[role] = self.started[node.stage] = write_score_examples.submit(
                    self.context,
                    node,
                    self.settings.retry,
                    judge,
                    self.config.questions,
                    self.started["questions"],
                    self.cast,
                )
        for role in self.config.models:
            if role != TUNED:
                self.ask_model(role, None)

    def list_asked_later(self) -> tuple[str, ...]:
        """Return the models that are there before training and are asked after it: the judges."""
        return tuple(judge.model for judge in self.config.judges)

    def ask_after_training(self) -> None:
        """Start what needs the tuned model, and the score table."""
        if TUNED in self.config.models:
            self.ask_model(TUNED, self.started["training"])
        found = [self.started[name] for name in self.graph.scores.upstream]
        self.started["scores"] = score_models.submit(
            self.context, self.graph.scores, self.settings.retry, self.config, found
        )

    def write_questions(self) -> None:
        """Start what makes the questions of the configured suite."""
        context, retry, asked = self.context, self.settings.retry, self.config.questions
        source = (self.started["curation"], self.started["characters"])
        chosen = texts = None
        if self.graph.settings is not None:
            chosen = choose_settings.submit(
                context, self.graph.settings, retry, asked, asked.settings, *source
            )
            self.started["question_settings"] = chosen
        if self.graph.texts is not None:
            texts = write_questions.submit(
                context, self.graph.texts, retry, asked, asked.writing, chosen, *source
            )
            self.started["question_texts"] = texts
        given = source if asked.suite == "held_out" else (None, None)
        self.started["questions"] = gather_questions.submit(
            context, self.graph.questions, retry, asked, texts, *given
        )

    def ask_model(self, role: str, training: Future | None) -> None:
        """Start one model's answers, their judgements, and what is measured without a judge."""
        context, retry, config = self.context, self.settings.retry, self.config
        like = self.settings.training.model if self.settings.training else None
        node = self.graph.answers[role]
        answers = self.started[node.stage] = answer_questions.submit(
            context,
            node,
            retry,
            role,
            config.answers,
            self.started["questions"],
            self.cast,
            training,
            like,
        )
        for judge in config.judges:
            verdicts = self.graph.judgements[judge.model, role]
            self.started[verdicts.stage] = judge_answers.submit(
                context,
                verdicts,
                retry,
                judge,
                config.questions,
                answers,
                self.examples.get(judge.model),
                self.cast,
            )
        if role in self.graph.attributions:
            attribution = self.graph.attributions[role]
            self.started[attribution.stage] = attribute_answers.submit(
                context,
                attribution,
                retry,
                role,
                config.attribution,
                self.settings.curation.prompt,
                self.started["curation"],
                self.started["characters"],
                training,
                like,
            )
        if role in self.graph.abilities:
            ability = self.graph.abilities[role]
            self.started[ability.stage] = measure_general_abilities.submit(
                context, ability, retry, role, config.abilities, training, like
            )

    @property
    def cast(self) -> Future | None:
        """Return the node of the characters whose profiles are shown, if the suite is of them."""
        return None if self.config.questions.suite == "personagym" else self.started["characters"]


def plan_evaluation(
    context: RunContext, settings: Settings, graph: Graph, started: Started, until: str
) -> Evaluation | None:
    """Return what starts the evaluation nodes, if this run has them and comes to them."""
    if settings.evaluation is None or graph.evaluation is None:
        return None
    if not started.reached(until, "evaluation"):
        return None
    return Evaluation(context, settings, settings.evaluation, graph.evaluation, started)


def list_waiting(started: Started) -> Mapping[str, Future]:
    """Return the nodes that need engines which must leave before training starts."""
    return {name: future for name, future in started.items() if name.startswith(_ASKING)}
