"""Mean verdict of one task, on the scale of 1 to 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.measures.evidence import Evidence, Series
from tasks.measures.measure import JudgedMeasure, list_verdicts


@dataclass(frozen=True, kw_only=True)
class TaskScoreMeasure(JudgedMeasure):
    """Mean verdict by task."""

    def list_series(self, evidence: Evidence) -> Iterator[Series]:
        """Yield it for every judge, model and task."""
        for judge, model, scores in list_verdicts(evidence):
            for task in sorted({score.task for score in scores}):
                rows = tuple(score for score in scores if score.task == task)
                yield Series(self.name, judge, task, model, rows)


MEASURES = [
    TaskScoreMeasure(name="score", place=10, label="task score", group="task", unit="points")
]
