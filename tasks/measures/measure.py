"""Says what a measure is: how it is called and written, what it is made of, and how it compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.text.batches.screening import TextBatch
from tasks.measures.corpus import Corpus
from tasks.measures.evidence import Evidence, Series
from tasks.measures.statistics import (
    Difference,
    Estimate,
    Score,
    average_judges,
    compare_rows,
    estimate_mean,
    estimate_share,
    take_scores,
)
from tasks.records import Answer, Attribution
from tasks.scores import PANEL

Group = Literal["main", "task", "style", "ability"]
"""``main``: what a model is trained for; ``task``: the same by task; ``style``; ``ability``."""


@dataclass(frozen=True, kw_only=True)
class MeasureKind:
    """Kind of measure.

    Attributes:
        name: As rows of the score table have it.
        place: Where it stands among the others, from the smallest on.
        label: As people read it.
        kind: ``share`` is written in per cent, differences of it in percentage points.
        digits: After the point.
        unit: What a difference of it is counted in.
        step: Least by which two rows differ, where they are on a grid; 0 where on none.
        headline: Whether a run's closing line shows it.
        alarms: Whether the report says at its top that it rose: it is a fault.
    """

    name: str
    place: int
    label: str
    group: Group
    kind: Literal["number", "share"] = "number"
    digits: int = 2
    unit: str = ""
    step: float = 0.0
    headline: bool = False
    alarms: bool = False

    def list_series(self, evidence: Evidence) -> Iterator[Series]:
        """Yield it for every model, row by row; what has no rows yields nothing."""
        yield from ()

    def estimate(self, scores: Sequence[Score]) -> Estimate:
        """Estimate it for one model."""
        return estimate_share(scores) if self.kind == "share" else estimate_mean(scores)

    def compare(self, ours: Sequence[Score], theirs: Sequence[Score]) -> Difference:
        """Compare two models on the rows that both have."""
        return compare_rows(ours, theirs, share=self.kind == "share", step=self.step)


@dataclass(frozen=True, kw_only=True)
class JudgedMeasure(MeasureKind):
    """Measure of verdicts: of every judge, and of the panel where there are several."""

    step: float = 1.0

    def list_series(self, evidence: Evidence) -> Iterator[Series]:
        """Yield it for every judge and model."""
        for judge, model, scores in list_verdicts(evidence):
            yield Series(self.name, judge, "", model, scores)


@dataclass(frozen=True, kw_only=True)
class AnswerMeasure(MeasureKind):
    """Measure of each answer by itself; ``score`` gives its value, ``None`` where it has none.

    ``score_all`` gives the same of all answers of a model, whose texts were looked at together.
    """

    score: Callable[[Answer], float | None]
    score_all: Callable[[Sequence[Answer], TextBatch], Iterable[float | None]] | None = None

    def list_series(self, evidence: Evidence) -> Iterator[Series]:
        """Yield it for every model."""
        for model, answers in evidence.list_answers():
            values = (
                map(self.score, answers)
                if self.score_all is None
                else self.score_all(answers, evidence.look_at(model))
            )
            scores = (
                Score(row.question_key, row.persona_key, row.task, value)
                for row, value in zip(answers, values, strict=True)
            )
            yield Series(self.name, "", "", model, tuple(scores))


@dataclass(frozen=True, kw_only=True)
class CorpusMeasure(MeasureKind):
    """Measure of all answers of a model at once, which has no interval.

    ``measure`` takes the words of all answers and a seed.
    """

    measure: Callable[[Corpus, int], float | None]


@dataclass(frozen=True, kw_only=True)
class TrialMeasure(MeasureKind):
    """Measure of attributed answers.

    ``value`` is a trial's; ``others`` are the characters that it was told from, and name the trial
    beside its answer: told from others, it is another one. ``chance`` is what guessing would give.
    """

    value: Callable[[Attribution], float]
    others: Callable[[Attribution], Sequence[str]] | None = None
    chance: Callable[[Attribution], float] | None = None

    def list_series(self, evidence: Evidence) -> Iterator[Series]:
        """Yield it for every model; a trial without other characters is none."""
        for model in evidence.models:
            found = evidence.attributions.get(model, ())
            rows = [row for row in found if self.others is None or self.others(row)]
            if not rows:
                continue
            scores = tuple(
                Score(" ".join(self._name(row)), row.persona_key, "", self.value(row))
                for row in rows
            )
            chance = None
            if self.chance is not None:
                chance = math.fsum(map(self.chance, rows)) / len(rows)
            yield Series(self.name, "", "", model, scores, chance)

    def _name(self, row: Attribution) -> Sequence[str]:
        return (row.example_key, *(self.others(row) if self.others is not None else ()))


def list_verdicts(evidence: Evidence) -> Iterator[tuple[str, str, tuple[Score, ...]]]:
    """Yield the verdicts of every judge, and of the panel, on every model; none is left out."""
    panel = evidence.judges if evidence.panel is None else evidence.panel
    for judge in (*evidence.judges, *([PANEL] if len(panel) > 1 else [])):
        for model in evidence.models:
            if judge == PANEL:
                rows = [row for row in evidence.judgements if row.judge in panel]
                scores = average_judges(rows, model)
            else:
                scores = take_scores(evidence.judgements, model, judge)
            if scores:
                yield judge, model, tuple(scores)
