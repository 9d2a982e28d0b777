"""Builds the nodes of the evaluation half: questions, answers, verdicts, and what they come to."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, TypeVar

from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.nodes.node import Node
from tasks.evaluation.config import EvaluationConfig, JudgeConfig
from tasks.evaluation.judging.nodes import Anchors, JudgeCalibration, JudgeExamples, Judgements
from tasks.evaluation.nodes import Abilities, Answers, Attributions, Scores
from tasks.evaluation.questions.nodes import Questions, QuestionSettings, QuestionTexts
from tasks.evaluation.subjects import Subject
from tasks.records import CONTROL, TUNED

N = TypeVar("N", bound=Node)


class Builder(Protocol):
    """Builder of the nodes of synthesis and training: each is made when it is asked for."""

    settings: Settings
    context: RunContext

    @property
    def characters(self) -> Node:
        """Return who plays."""
        ...

    @property
    def curation(self) -> Node:
        """Return the SFT rows."""
        ...

    @property
    def training(self) -> Node | None:
        """Return the model, if this run trains one."""
        ...

    @property
    def control(self) -> Node | None:
        """Return the model that learns the same answers under others' profiles."""
        ...

    def node(self, kind: type[N], **fields: Any) -> N:
        """Make a node of a kind."""
        ...


def list_trained_roles(settings: Settings) -> set[str]:
    """Return the roles of models that a run trains: no control where a model is called so."""
    if settings.training is None:
        return set()
    return {TUNED} | ({CONTROL} - settings.models.keys())


class EvaluationNodes:
    """Builder of the nodes of evaluation; those of synthesis are asked for where one is needed."""

    def __init__(self, builder: Builder, config: EvaluationConfig) -> None:
        self._builder = builder
        self._config = config
        self._node = builder.node

    @cached_property
    def scores(self) -> Scores:
        """Return the score table."""
        config = self._config
        examples = {judge.model: self._write_examples(judge) for judge in config.judges}
        found: list[Node] = [self.questions, *self.answers.values()]
        found += [
            self._node(
                Judgements,
                config=judge,
                role=judge.model,
                suite=config.questions,
                answers=answers,
                examples=examples[judge.model],
                characters=self._cast if judge.with_profile else None,
            )
            for judge in config.judges
            for answers in self.answers.values()
        ]
        found += [
            self._node(JudgeCalibration, config=judge, role=judge.model, suite=config.questions)
            for judge in config.judges
            if judge.calibration is not None
        ]
        for judge in config.judges:
            found += self._check_examples(judge, examples[judge.model])
        if config.attribution is not None:
            found += [
                self._node(
                    Attributions,
                    config=config.attribution,
                    prompt=self._builder.settings.curation.prompt,
                    subject=subject,
                    examples=self._builder.curation,
                    characters=self._builder.characters,
                )
                for subject in self._local
            ]
        if config.abilities.tasks:
            found += [
                self._node(Abilities, config=config.abilities, subject=subject)
                for subject in self._local
            ]
        return self._node(Scores, config=config, found=found)

    @cached_property
    def questions(self) -> Questions:
        """Return what is asked."""
        config, builder = self._config.questions, self._builder
        if config.suite == "held_out":
            return self._node(
                Questions,
                config=config,
                examples=builder.curation,
                characters=builder.characters,
            )
        texts = self._texts if config.suite == "generated" else None
        return self._node(Questions, config=config, texts=texts)

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Return what every model answers, by its name."""
        config = self._config
        return {
            model.name: self._node(
                Answers,
                config=config.answers.model_copy(update={"prompt": config.find_prompt(model)}),
                suite=config.questions,
                role=model.role,
                subject=self._subjects[model.role],
                told_as=model.name,
                questions=self.questions,
                characters=self._cast if config.answers.with_profile else None,
            )
            for model in config.models
        }

    @property
    def _texts(self) -> QuestionTexts:
        config, builder = self._config.questions, self._builder
        who = {"examples": builder.curation, "characters": builder.characters}
        chosen = config.settings and self._node(
            QuestionSettings,
            config=config.settings,
            role=config.settings.model,
            questions=config,
            **who,
        )
        writing = config.writing
        return self._node(
            QuestionTexts,
            config=writing,
            role=writing.model,
            questions=config,
            settings=chosen,
            **who,
        )

    def _write_examples(self, judge: JudgeConfig) -> JudgeExamples | None:
        if judge.examples is None:
            return None
        return self._node(
            JudgeExamples,
            config=judge.examples,
            role=judge.model,
            judge=judge,
            suite=self._config.questions,
            questions=self.questions,
            characters=self._cast if judge.with_profile else None,
        )

    def _check_examples(self, judge: JudgeConfig, examples: JudgeExamples | None) -> list[Node]:
        """Return the verdicts on a judge's own examples, and these, if it is to be checked."""
        if examples is None or not judge.check_examples:
            return []
        anchors = self._node(
            Anchors,
            config=judge,
            role=judge.model,
            suite=self._config.questions,
            examples=examples,
            questions=self.questions,
            characters=self._cast if judge.with_profile else None,
        )
        return [anchors, examples]

    @property
    def _cast(self) -> Node | None:
        """Return whose profiles may be shown: PersonaGym's personas have none."""
        gym = self._config.questions.suite == "personagym"
        return None if gym else self._builder.characters

    @cached_property
    def _subjects(self) -> dict[str, Subject]:
        return {role: self._choose_subject(role) for role in self._config.roles}

    def _choose_subject(self, role: str) -> Subject:
        settings = self._builder.settings
        if settings.training is None or role not in list_trained_roles(settings):
            return Subject(role, role)
        trained = self._builder.control if role == CONTROL else self._builder.training
        return Subject(role, settings.training.model, trained)

    @property
    def _local(self) -> list[Subject]:
        """Return the models whose weights are here, not behind an endpoint."""
        models = self._builder.context.models
        return [one for one in self._subjects.values() if models[one.like].engine == "vllm"]
