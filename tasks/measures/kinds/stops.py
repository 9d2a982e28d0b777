"""Share of answers that end by themselves, within the token limit."""

from __future__ import annotations

from tasks.measures.measure import AnswerMeasure

MEASURES = [
    AnswerMeasure(
        name="stops",
        place=82,
        label="ends by itself",
        group="style",
        kind="share",
        digits=1,
        unit="percentage points",
        score=lambda row: float(not row.truncated),
    )
]
