"""Names the nodes of the evaluation half before they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.store.manifests import NodeSpec
from tasks.evaluation.config import TUNED, EvaluationConfig
from tasks.evaluation.naming import (
    TunedModel,
    describe_abilities,
    describe_answers,
    describe_attribution,
    describe_calibration,
    describe_examples,
    describe_judgements,
    describe_questions,
    describe_scores,
    describe_settings,
    describe_texts,
)


@dataclass(frozen=True)
class EvaluationGraph:
    """Every node of evaluation; models and judges are named by role.

    ``judgements`` holds a node for each pair of judge and model.
    """

    settings: NodeSpec | None
    texts: NodeSpec | None
    questions: NodeSpec
    answers: Mapping[str, NodeSpec]
    examples: Mapping[str, NodeSpec]
    judgements: Mapping[tuple[str, str], NodeSpec]
    calibrations: Mapping[str, NodeSpec]
    attributions: Mapping[str, NodeSpec]
    abilities: Mapping[str, NodeSpec]
    scores: NodeSpec

    def nodes(self) -> Iterator[NodeSpec]:
        """Yield the nodes that this run has, upstream first."""
        yield from (node for node in (self.settings, self.texts) if node is not None)
        yield self.questions
        for group in (self.answers, self.examples, self.calibrations):
            yield from group.values()
        yield from self.judgements.values()
        yield from self.attributions.values()
        yield from self.abilities.values()
        yield self.scores


def draw_evaluation(
    settings: Settings,
    config: EvaluationConfig,
    context: RunContext,
    made: Callable[[NodeSpec], NodeSpec],
    *,
    curation: NodeSpec,
    characters: NodeSpec,
    training: NodeSpec | None,
) -> EvaluationGraph:
    """Fingerprint the nodes, upstream first; ``made`` says which of them are made again."""
    asked = config.questions
    own = asked.suite != "personagym"
    cast = [characters] if own else []
    chosen = texts = None
    if asked.suite == "generated":
        source = [curation, characters]
        if asked.settings is not None:
            chosen = made(describe_settings(asked.settings, asked, context, source))
        read = [chosen] if chosen else source
        texts = made(describe_texts(asked.writing, asked, context, read))
    read = [texts] if texts else []
    if asked.suite == "held_out":
        read = [curation, characters]
    questions = made(describe_questions(asked, read))

    tuned = (
        TunedModel(training, settings.training.model) if training and settings.training else None
    )
    shown = cast if config.answers.with_profile else []
    answers = {
        role: made(describe_answers(role, config, context, [questions, *shown], tuned))
        for role in config.models
    }
    examples = {
        judge.model: made(
            describe_examples(
                judge, asked, context, [questions, *(cast if judge.with_profile else [])]
            )
        )
        for judge in config.judges
        if judge.examples is not None
    }
    judgements = {
        (judge.model, role): made(
            describe_judgements(
                judge,
                role,
                asked,
                context,
                [
                    answers[role],
                    *([examples[judge.model]] if judge.model in examples else []),
                    *(cast if judge.with_profile else []),
                ],
            )
        )
        for judge in config.judges
        for role in config.models
    }
    calibrations = {
        judge.model: made(describe_calibration(judge, asked, context))
        for judge in config.judges
        if judge.calibration is not None
    }
    local = [
        role
        for role in config.models
        if context.models[tuned.base if tuned and role == TUNED else role].engine == "vllm"
    ]
    attributions = {
        role: made(
            describe_attribution(
                role,
                config.attribution,
                settings.curation.prompt,
                context,
                [curation, characters],
                tuned,
            )
        )
        for role in (local if config.attribution is not None else [])
        if config.attribution is not None
    }
    abilities = {
        role: made(describe_abilities(role, config.abilities, context, tuned))
        for role in (local if config.abilities.tasks else [])
    }
    found = [questions, *answers.values(), *judgements.values(), *calibrations.values()]
    found += [*attributions.values(), *abilities.values()]
    return EvaluationGraph(
        settings=chosen,
        texts=texts,
        questions=questions,
        answers=answers,
        examples=examples,
        judgements=judgements,
        calibrations=calibrations,
        attributions=attributions,
        abilities=abilities,
        scores=made(describe_scores(config, found)),
    )
