"""Share of answers that go round in circles: a phrase or a passage again and again."""

from __future__ import annotations

from infra.text.loops import find_loop
from tasks.measures.measure import AnswerMeasure

MEASURES = [
    AnswerMeasure(
        name="loops",
        place=83,
        label="goes round in circles",
        group="style",
        kind="share",
        digits=1,
        unit="percentage points",
        alarms=True,
        score=lambda row: float(find_loop(row.answer) is not None),
        score_all=lambda _, batch: map(float, batch.find_loops()),
    )
]
