"""Offers the nodes of evaluation: answers, attributions, general abilities, the score table.

Questions and judges have rooms of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from infra.context import read_chat_template
from infra.engines.config import ModelConfig
from infra.generation.stage_worker import RowMaker
from infra.nodes.node import JobNode, JobOutput, Node, RowNode, SetNode, SetOutput
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows
from infra.store.manifests import write_table
from infra.store.schema import to_table
from tasks.evaluation.config import (
    AnswerConfig,
    AttributionConfig,
    EvaluationConfig,
    QuestionConfig,
)
from tasks.evaluation.judging.sheet_files import digest_sheets
from tasks.evaluation.measures.abilities import AbilitiesConfig, digest_tasks
from tasks.evaluation.measures.published import describe_set_up, name_published
from tasks.evaluation.planning import plan_answers
from tasks.evaluation.subjects import (
    Subject,
    find_profiles,
    name_answer_prompt,
    read_answer_prompt,
    read_prompt,
)
from tasks.records import (
    Ability,
    Answer,
    Attribution,
    Character,
    EvalQuestion,
    Example,
    Rejection,
)
from tasks.scores import Measure


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers(RowNode):
    """Answers of one model to every question, in character, under one prompt.

    ``told_as`` is what its rows call the model: its role, and its own prompt where it has one.
    """

    kind = "answers"
    stage = "evaluation"
    version = 2
    record = Answer
    row_kind = RowKind(
        "answer",
        pl.col("answer"),
        ("question",),
        ("question_key",),
        ("persona_key",),
        shows_profile=True,
    )

    config: AnswerConfig
    suite: QuestionConfig
    subject: Subject
    told_as: str
    questions: Node
    characters: Node | None

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the model."""
        return {"model": self.told_as}

    @property
    def engine(self) -> str | None:
        """Return the role whose engine it starts, or one like it."""
        return self.subject.like

    @property
    def model(self) -> ModelConfig:
        """Return the configuration that the model is run with."""
        return self.context.models[self.subject.like]

    def identify_model(self) -> str:
        """Return what the model is, or the node that makes it."""
        return self.subject.identify(self.context)

    def upstream(self) -> Sequence[Node]:
        """Return the questions, the characters whose profiles are shown, and the model's node."""
        return (*super().upstream(), *self.subject.made_by)

    def prompt_source(self) -> str:
        """Return the prompt's content."""
        return read_answer_prompt(self.config.prompt, self.suite).source

    def open(self) -> None:
        """Make a trained model known to the engines."""
        self.subject.open(self.context)

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row a question."""
        questions = given.read(self.questions, EvalQuestion)
        return plan_answers(self.spec.recipe, questions, find_profiles(given, self.characters))

    def maker(self) -> RowMaker[Any]:
        """Return what asks the model."""
        from tasks.evaluation.answering import Answerer, require_system_prompt

        prompt = read_answer_prompt(self.config.prompt, self.suite)
        return Answerer(require_system_prompt(prompt), self.told_as)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attributions(SetNode):
    """Attribution of held-out answers to characters, by one model's likelihoods.

    ``prompt`` is the one that the examples were made with.
    """

    kind = "attribution"
    stage = "evaluation"
    version = 1
    record = Attribution
    row_kind = RowKind(
        "attribution",
        pl.format(
            "{}: credit {} among random characters, {} among like ones",
            pl.col("model"),
            pl.col("random_credit").round(2),
            pl.col("hard_credit").round(2),
        ),
        ("example",),
        ("example_key",),
    )
    use = "models"

    config: AttributionConfig
    prompt: str
    subject: Subject
    examples: Node
    characters: Node

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the model."""
        return {"model": self.subject.role}

    @property
    def loads(self) -> str | None:
        """Return the role whose model it loads, or one like it."""
        return self.subject.like

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs, the prompt's content and the model."""
        return {
            **self.config.knob_values("identity"),
            "prompt": read_prompt(self.prompt).source,
            "model": self.subject.identify(self.context),
        }

    def upstream(self) -> Sequence[Node]:
        """Return the examples, the characters and the model's node."""
        return (*super().upstream(), *self.subject.made_by)

    def gather(self, given: Rows) -> SetOutput:
        """Attribute every chosen answer, on the cluster."""
        from infra.generation.cluster_jobs import run_on_cluster
        from tasks.evaluation.measures.attribution import plan_attribution, score_plan

        context, config = self.context, self.config
        model = self.subject.open(context)
        plan = plan_attribution(
            given.read(self.examples, Example),
            given.read(self.characters, Character),
            read_prompt(self.prompt),
            recipe=self.spec.recipe,
            candidates=config.candidates,
            per_character=config.per_character,
            max_examples=config.max_examples,
            seed=config.seed,
        )
        found = run_on_cluster(
            context.pool,
            partial(score_plan, name=self.subject.role, template=read_chat_template(model)),
            plan,
            model.model,
            model.revision,
            stage=self.name,
            listener=context.listener,
            stop=context.stop,
        )
        return SetOutput(
            [row for row in found if isinstance(row, Attribution)],
            [*plan.left_out, *(row for row in found if isinstance(row, Rejection))],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Abilities(SetNode):
    """General abilities of one model."""

    kind = "abilities"
    stage = "evaluation"
    version = 1
    record = Ability
    row_kind = RowKind("ability", pl.format("{} {}: {}", "task", "metric", "value"))
    use = "models"

    config: AbilitiesConfig
    subject: Subject

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the model."""
        return {"model": self.subject.role}

    @property
    def loads(self) -> str | None:
        """Return the role whose model it loads, or one like it."""
        return self.subject.like

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs and the model."""
        model = self.subject.identify(self.context)
        return {**self.config.knob_values("identity"), "model": model}

    def upstream(self) -> Sequence[Node]:
        """Return the model's node, if one makes it."""
        return self.subject.made_by

    def sources(self) -> Sequence[str]:
        """Return the digests of the task files."""
        return digest_tasks(self.config)

    def gather(self, given: Rows) -> SetOutput:
        """Run the tasks on the model, on the cluster."""
        from infra.generation.cluster_jobs import run_on_cluster
        from tasks.evaluation.measures.general_tasks import measure_model
        from tasks.evaluation.measures.task_files import pack_tasks

        context = self.context
        model = self.subject.open(context)
        found = run_on_cluster(
            context.pool,
            measure_model,
            model.model,
            model.revision,
            self.config,
            pack_tasks(self.config.tasks),
            self.subject.role,
            stage=self.name,
            listener=context.listener,
            stop=context.stop,
        )
        return SetOutput(found, ())


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores(JobNode):
    """Score table: what was measured of the models, compared, and how good their judges are."""

    kind = "scores"
    stage = "evaluation"
    version = 3  # alpha by personas, a floor for the spread of differences, habits
    record = Measure

    config: EvaluationConfig
    found: Sequence[Node]

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs; models are named in order, as the first is compared with."""
        config = self.config
        return {
            **config.knob_values("identity"),
            "models": list(config.names),
            "judges": [judge.model for judge in config.judges],
            "published": name_published(config.published),
            "suite": config.questions.suite,
            "light": config.questions.light,
        }

    def sources(self) -> Sequence[str]:
        """Return the digests of the sheets that people filled in."""
        return digest_sheets(self.config.people)

    def run(self, given: Rows) -> JobOutput:
        """Measure and compare the models, and say how good their judges are."""
        from tasks.evaluation.measures.score_table import Inputs, make_score_table

        table = make_score_table(self.config, Inputs.read(given, self.config, self.found))
        base = f"{self.spec.folder}/part-{self.spec.fingerprint}"
        storage = self.context.storage
        parts = [
            write_table(storage, f"{base}-{holds}.parquet", to_table(record, rows), holds=holds)
            for holds, record, rows in table.list_parts()
        ]
        facts: dict[str, Any] = {
            "headline": table.headline,
            "models": list(self.config.names),
            "prompts": self._name_prompts(),
        }
        if table.published:
            labels = [self.context.model_label(judge.model) for judge in self.config.judges]
            facts["set_up"] = describe_set_up(self.config, labels)
        return JobOutput(parts, len(table.measures), facts=facts)

    def _name_prompts(self) -> dict[str, str]:
        """Return what people call the prompt of each model that was asked."""
        config = self.config
        return {
            model.name: name_answer_prompt(config.find_prompt(model), config.questions)
            for model in config.models
        }
