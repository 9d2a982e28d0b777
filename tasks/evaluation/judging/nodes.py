"""Offers the nodes of judges: score examples, verdicts, and what calibrates and probes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from infra.generation.stage_worker import RowMaker
from infra.nodes.node import Node, RowNode
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows
from infra.paths import require_path
from tasks.evaluation.config import JudgeConfig, QuestionConfig, ScoreExampleConfig
from tasks.evaluation.judging.anchors import choose_anchors, list_replies
from tasks.evaluation.judging.calibration import (
    Labelled,
    digest_labelled,
    plan_calibration,
    read_labelled,
)
from tasks.evaluation.judging.judging import ExampleWriter, Judge
from tasks.evaluation.judging.probes import Probe, pad_answers, turn_rubrics
from tasks.evaluation.judging.rubrics import JudgingPrompts, bind_rubrics, load_rubrics
from tasks.evaluation.planning import plan_examples, plan_judgements
from tasks.evaluation.questions.personagym import read_prompts
from tasks.evaluation.subjects import find_profiles, read_prompt
from tasks.records import Answer, EvalQuestion, Judgement, ScoreExamples

_VERDICT = pl.format(
    "{}: {}", pl.col("score").cast(pl.String).fill_null("no verdict"), pl.col("justification")
)


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgeExamples(RowNode):
    """Replies that one judge writes, one a score, to every question: once for all models.

    ``characters`` are those whose profiles it is shown.
    """

    kind = "examples"
    stage = "evaluation"
    version = 2
    record = ScoreExamples
    row_kind = RowKind(
        "score examples",
        pl.col("examples").list.get(0, null_on_oob=True),
        ("question",),
        ("question_key",),
    )

    config: ScoreExampleConfig
    judge: JudgeConfig
    suite: QuestionConfig
    questions: Node
    characters: Node | None

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the judge."""
        return {"judge": self.judge.model}

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs, its prompt and its model, and what the judge is shown."""
        return {**super().identity(), "with_profile": self.judge.with_profile}

    def prompt_source(self) -> str:
        """Return the content of the prompt and the rubrics."""
        return load_judging(self.judge, self.suite).example_source

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row a question."""
        questions = given.read(self.questions, EvalQuestion)
        profiles = find_profiles(given, self.characters)
        return plan_examples(self.spec.recipe, questions, profiles)

    def maker(self) -> RowMaker[Any]:
        """Return what writes the replies."""
        config = self.config
        return ExampleWriter(
            prompts=load_judging(self.judge, self.suite),
            judge=self.judge.model,
            structured=config.structured and not config.one_by_one,
            one_by_one=config.one_by_one,
            max_chars=config.max_chars,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts(RowNode):
    """Scores that one judge gives."""

    stage = "evaluation"
    version = 3
    record = Judgement

    config: JudgeConfig
    suite: QuestionConfig

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the judge."""
        return {"judge": self.config.model}

    @property
    def knobs(self) -> JudgeConfig:
        """Return the judge's knobs; those of its score examples count in their own node."""
        return self.config.model_copy(update={"examples": None})

    @property
    def prompts(self) -> JudgingPrompts:
        """Return what the judge is asked."""
        return load_judging(self.config, self.suite)

    def prompt_source(self) -> str:
        """Return the content of the prompt and the rubrics."""
        return self.prompts.verdict_source

    def remarks(self) -> Mapping[str, str]:
        """Return the rubric's name, where one serves all tasks: scores by task then say nothing."""
        rubric = self.prompts.single_rubric
        return {} if rubric is None else {"rubric": rubric}

    def maker(self) -> RowMaker[Any]:
        """Return the judge."""
        config = self.config
        return Judge(
            prompts=self.prompts,
            judge=config.model,
            structured=config.structured,
            max_justification_chars=config.max_justification_chars,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgements(Verdicts):
    """Verdicts of one judge on one model's answers; what was not answered is not judged.

    ``characters`` are those whose profiles it is shown.
    """

    kind = "judgements"
    row_kind = RowKind("judgement", _VERDICT, ("answer", "score examples"), ("answer_key",))

    answers: Node
    examples: Node | None
    characters: Node | None

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the judge and the model."""
        return {"judge": self.config.model, "model": self.answers.parameters["model"]}

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row an answer."""
        return plan_judgements(
            self.spec.recipe,
            given.read(self.answers, Answer),
            given.read(self.examples, ScoreExamples) if self.examples else (),
            find_profiles(given, self.characters),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchors(Verdicts):
    """Verdicts of one judge on its own example replies, shown as answers and without examples."""

    kind = "anchors"
    version = 1
    row_kind = RowKind("judgement of an example", _VERDICT)

    examples: Node
    questions: Node
    characters: Node | None

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs, and of how many questions the replies are shown."""
        return {**super().selection(), "questions": self.config.check_examples}

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row a reply."""
        examples = given.read(self.examples, ScoreExamples)
        chosen = choose_anchors(examples, self.config.check_examples)
        return plan_judgements(
            self.spec.recipe,
            list_replies(chosen, given.read(self.questions, EvalQuestion)),
            profiles=find_profiles(given, self.characters),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgeCalibration(Verdicts):
    """Verdicts of one judge on rows whose score is known, without score examples."""

    kind = "calibration"
    row_kind = RowKind("calibration", _VERDICT)

    def sources(self) -> Sequence[str]:
        """Return the digest of the labelled rows."""
        return [digest_labelled(self._path)]

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row for each labelled one."""
        return plan_calibration(self.spec.recipe, self.read_labelled())

    def read_labelled(self) -> tuple[Labelled, ...]:
        """Return the rows with their labels, as the file has them."""
        return read_labelled(str(self.config.calibration))

    @property
    def _path(self) -> Path:
        where = f"evaluation.judges.{self.config.model}.calibration"
        return require_path(str(self.config.calibration), where)


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgeProbe(JudgeCalibration):
    """Verdicts of one judge on the same rows, shown in a way that must not matter."""

    kind = "probe"
    version = 1
    row_kind = RowKind("judgement under a probe", _VERDICT)

    probe: Probe

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the judge and what is done to the rows."""
        return {"judge": self.config.model, "probe": self.probe}

    def identity(self) -> Mapping[str, Any]:
        """Return what a verdict is made of, and what is done to the rows."""
        return {**super().identity(), "probe": self.probe}

    @property
    def prompts(self) -> JudgingPrompts:
        """Return what the judge is asked; :class:`ValueError` if nothing in it can be turned."""
        asked = super().prompts
        turned = turn_rubrics(asked) if self.probe == "turned" else asked
        if turned is None:
            raise ValueError(f"{self.name}: the judge's prompt lists no anchors, a line each")
        return turned

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row for each labelled one."""
        rows = self.read_labelled()
        return plan_calibration(
            self.spec.recipe, pad_answers(rows) if self.probe == "padded" else rows
        )


def load_judging(judge: JudgeConfig, questions: QuestionConfig) -> JudgingPrompts:
    """Read what a judge is asked: our prompts and rubrics, or the checkout's."""
    if judge.prompts == "personagym":
        return read_prompts(Path(str(questions.path)))
    where = f"evaluation.judges.{judge.model}"
    examples = judge.examples or ScoreExampleConfig()
    return bind_rubrics(
        load_rubrics(require_path(judge.rubrics, f"{where}.rubrics")),
        verdict=read_prompt(judge.prompt),
        examples=read_prompt(examples.prompt),
        structured=judge.structured,
    )
