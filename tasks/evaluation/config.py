"""Declares the knobs of evaluation: what is asked, who answers, who judges, what is measured."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from infra.knobs import Knobs, execution, group, identity, selection
from tasks.evaluation.measures.abilities import AbilitiesConfig
from tasks.records import BASE, TUNED

Suite = Literal["generated", "personagym", "held_out"]

OWN_LINE = "personagym"
"""As the name of a prompt: the line under which PersonaGym's checkout itself asks."""

_NO_NAME = re.compile(r"[^A-Za-z0-9.-]+")


class AskedConfig(Knobs):
    """Knobs of a stage of evaluation: how it asks its model."""

    temperature: float = identity(0.0, ge=0, le=2, description="Sampling temperature")
    top_p: float = identity(1.0, gt=0, le=1, description="Nucleus sampling mass")
    max_new_tokens: int = identity(1024, ge=16, description="Longest completion in tokens")
    seed: int = identity(0, ge=0, description="Seed of the sampling")
    max_attempts: int = selection(3, ge=1, description="How often a completion is asked for")
    min_yield: float = execution(
        0.5, ge=0, le=1, description="Share of rows that must be accepted, else the run stops"
    )


class SettingsConfig(AskedConfig):
    """Knobs of the choice of everyday settings for a persona."""

    model: str = execution("teacher", description="Which of `models` chooses")
    prompt: str = execution(
        "prompts/evaluation/choose_settings.j2", description="Prompt file; its content counts"
    )
    settings: str = execution(
        "prompts/evaluation/settings.txt", description="Settings, one a line; the content counts"
    )
    count: int = identity(5, ge=1, description="Settings a persona")
    structured: bool = identity(True, description="Hold the answer to a JSON schema")
    max_new_tokens: int = identity(256, ge=16, description="Longest completion in tokens")


class WritingConfig(AskedConfig):
    """Knobs of the writing of questions to each task's requirement."""

    model: str = execution("teacher", description="Which of `models` writes the questions")
    prompt: str = execution(
        "prompts/evaluation/write_questions.j2", description="Prompt file; its content counts"
    )
    format: Literal["json", "lines"] = identity(
        "json", description="json: objects with setting and question; lines: one question a line"
    )
    count: int = identity(10, ge=1, description="Questions a persona and task")
    rounds: int = identity(3, ge=1, description="How often missing questions are asked for")
    must_ask: bool = identity(True, description="A question must end with a question mark")
    structured: bool = identity(True, description="Hold the answer to a JSON schema")
    language: str | None = identity(
        "en", description="Language of the questions (ISO 639-1); null: any"
    )
    temperature: float = identity(0.9, ge=0, le=2, description="Sampling temperature")
    max_new_tokens: int = identity(2048, ge=16, description="Longest completion in tokens")


class QuestionConfig(Knobs):
    """Knobs of questions: which are asked, and about whom."""

    suite: Suite = selection(
        "generated",
        description="generated: written for this run's personas; personagym: the static questions "
        "of a checkout; held_out: the questions of held-out dialogues, no model asked",
    )
    path: str | None = execution(
        None, description="PersonaGym checkout; its questions, rubrics and prompts are read there"
    )
    light: bool = selection(
        True, description="Of PersonaGym, the first question of each task only (Light)"
    )
    unseen: bool = selection(
        True, description="Of this run's personas, only those held out of training"
    )
    personas: int | None = selection(
        None, ge=1, description="Most personas, chosen by smallest hash; null: all"
    )
    per_persona: int = selection(5, ge=1, description="Held-out questions a persona")
    seed: int = selection(0, ge=0, description="Seed of the choice of personas")
    settings: SettingsConfig | None = group(
        SettingsConfig, description="Settings that questions play in; null: none"
    )
    writing: WritingConfig = group(WritingConfig, description="How questions are written")


class AnswerConfig(AskedConfig):
    """Knobs of models' answers: by default the paper's sampling, and the prompt of training."""

    prompt: str = execution(
        "prompts/roleplay.j2",
        description="System prompt, a file; or personagym: the line that the checkout's code has",
    )
    with_profile: bool = identity(
        True, description="Show the profile of personas that have a character"
    )
    temperature: float = identity(0.9, ge=0, le=2, description="Sampling temperature")
    max_new_tokens: int = identity(1024, ge=1, description="Longest answer in tokens")
    min_yield: float = execution(
        0.9, ge=0, le=1, description="Share of answers that must not be empty, else the run stops"
    )


class ScoreExampleConfig(AskedConfig):
    """Knobs of the writing of the example replies, one a score, that a judge compares with."""

    prompt: str = execution(
        "prompts/evaluation/score_examples.j2", description="Prompt file; its content counts"
    )
    structured: bool = identity(True, description="Hold the answer to a JSON schema")
    one_by_one: bool = identity(False, description="Ask for each reply alone, for weak judges")
    max_chars: int = identity(3000, ge=100, description="Longest reply in characters")
    max_new_tokens: int = identity(4096, ge=16, description="Longest completion in tokens")


class JudgeConfig(AskedConfig):
    """One judge: a model, its prompt and rubrics, and what it is shown."""

    model: str = execution("judge", description="Which of `models` judges; also the judge's name")
    prompts: Literal["ours", "personagym"] = identity(
        "ours", description="Our prompt and rubrics, or the checkout's own"
    )
    prompt: str = execution(
        "prompts/evaluation/judge.j2", description="Prompt file of ours; its content counts"
    )
    rubrics: str = execution(
        "prompts/evaluation/rubrics.yaml",
        description="Rubrics of ours, one a task or one for all; the content counts",
    )
    with_profile: bool = identity(False, description="Show the judge the character's profile")
    structured: bool = identity(True, description="Hold the verdict to a JSON schema")
    max_justification_chars: int = identity(
        1500, ge=20, description="Longest justification under the schema, in characters"
    )
    max_new_tokens: int = identity(1024, ge=16, description="Longest verdict in tokens")
    max_missing: float = execution(
        0.5, ge=0, le=1, description="Share of missing verdicts above which the run stops"
    )
    examples: ScoreExampleConfig | None = group(
        ScoreExampleConfig, description="Example replies shown with the rubric; null: none"
    )
    check_examples: int = execution(
        0,
        ge=0,
        description="Questions whose example replies the judge is shown as if they were answers, "
        "to see whether it orders them; 0: none",
    )
    calibration: str | None = execution(
        None, description="JSONL of rows with known scores, to measure the judge on"
    )

    @model_validator(mode="after")
    def _examples_are_there_to_check(self) -> JudgeConfig:
        if self.check_examples and self.examples is None:
            raise ValueError("check_examples has no example replies to show: set examples")
        return self


class AttributionConfig(Knobs):
    """Knobs of the attribution of held-out answers to characters by likelihood."""

    candidates: int = identity(4, ge=2, description="Characters an answer is told from")
    per_character: int | None = selection(
        1, ge=1, description="Most held-out examples of a character; null: all"
    )
    max_examples: int | None = selection(
        500, ge=1, description="Most examples of all, by smallest hash; null: all"
    )
    seed: int = identity(0, ge=0, description="Seed of the choice of examples and distractors")


class EvaluatedModel(Knobs):
    """One model that is asked, and the prompt that it answers under; written as its role alone."""

    role: str = execution(description="Which of `models`; `tuned` is the model this run trains")
    prompt: str | None = execution(
        None, description="System prompt of its own, as answers.prompt; null: answers.prompt"
    )

    @property
    def name(self) -> str:
        """Return what nodes and rows call it: its role, and its own prompt where it has one."""
        if self.prompt is None:
            return self.role
        return f"{self.role}-{_NO_NAME.sub('-', Path(self.prompt).stem).strip('-')}"

    @model_validator(mode="before")
    @classmethod
    def _read_role(cls, given: object) -> object:
        return {"role": given} if isinstance(given, str) else given

    @model_serializer(mode="wrap")
    def _write_role(self, write: SerializerFunctionWrapHandler) -> Any:
        return self.role if self.prompt is None else write(self)


class EvaluationConfig(Knobs):
    """Knobs of how models are compared; the first one's role is what the others are compared with.

    A role may be asked under several prompts: the others are compared with the first one's role
    under each.
    """

    models: tuple[EvaluatedModel, ...] = execution(
        (BASE, TUNED),
        min_length=1,
        description="Models to compare: a role, or {role: base, prompt: personagym} for one that"
        " answers under a prompt of its own; `tuned` is the model this run trains, `control` one"
        " that it trains beside it on the same answers under other characters' profiles",
    )
    questions: QuestionConfig = group(QuestionConfig, description="What is asked")
    answers: AnswerConfig = group(AnswerConfig, description="How it is answered")
    judges: tuple[JudgeConfig, ...] = group((), description="Who judges the answers")
    attribution: AttributionConfig | None = group(
        AttributionConfig, description="Attribution by likelihood; null: none"
    )
    abilities: AbilitiesConfig = group(
        AbilitiesConfig, description="General tasks before and after, to see what role-play costs"
    )
    people: tuple[str, ...] = execution(
        (),
        description="Sheets that people filled in: of `show answers --sample`, or saved by the "
        "page side_by_side.html",
    )
    published: str | None = execution(
        None,
        description="The run's recipe in the paper (opencharacter, ablation-1-base…), whose rows"
        " are marked among the paper's; all: the rows alone; null: none",
    )
    bootstrap_seed: int = identity(
        0, ge=0, description="Seed of the pairs of self-similarity, and of the bootstrap of alpha"
    )
    resamples: int = identity(10_000, ge=100, description="Resamples of the bootstrap of alpha")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the models that are asked, in order."""
        return tuple(model.name for model in self.models)

    @property
    def roles(self) -> tuple[str, ...]:
        """Return their roles, each once, in order."""
        return tuple(dict.fromkeys(model.role for model in self.models))

    def find_prompt(self, model: EvaluatedModel) -> str:
        """Return the prompt that a model answers under."""
        return model.prompt or self.answers.prompt

    @model_validator(mode="after")
    def _models_are_distinct(self) -> EvaluationConfig:
        asked = Counter((model.role, self.find_prompt(model)) for model in self.models)
        for (role, prompt), count in asked.items():
            if count > 1:
                raise ValueError(f"models: {role} is named twice under {prompt}: leave one out")
        # What needs no answers is told of a role, so its name counts even where none answers as it.
        plain = {model.role for model in self.models if model.prompt is None}
        for name, count in Counter((*self.names, *({*self.roles} - plain))).items():
            if count > 1:
                raise ValueError(f"models: two would be called {name}: rename a role or a prompt")
        return self

    @model_validator(mode="after")
    def _judges_are_distinct(self) -> EvaluationConfig:
        roles = [judge.model for judge in self.judges]
        if len(set(roles)) != len(roles):
            raise ValueError("two judges have one model: give the second role a name of its own")
        needs = [judge.model for judge in self.judges if judge.prompts == "personagym"]
        needs += [model.name for model in self.models if self.find_prompt(model) == OWN_LINE]
        if (needs or self.questions.suite == "personagym") and self.questions.path is None:
            raise ValueError("questions.path must name the PersonaGym checkout")
        return self
