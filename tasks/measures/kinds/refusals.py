"""Refusals and admissions: shares of answers that refuse, or admit to being a model.

Both are found by English phrases (:mod:`infra.text.refusals`), which err towards keeping: the
rates are lower bounds, and 0 for a model that answers in another language.
"""

from __future__ import annotations

from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes
from tasks.measures.measure import AnswerMeasure
from tasks.records import Answer


def score_refusal(row: Answer) -> float:
    """Return 1 for an answer that refuses, 0 for another."""
    return float(find_refusal(fold_quotes(row.answer)) is not None)


def score_ai_admission(row: Answer) -> float:
    """Return 1 for an answer that admits to being a model though its persona is none."""
    return float(find_ai_admission(fold_quotes(row.answer), row.persona) is not None)


MEASURES = [
    AnswerMeasure(
        name="refusals",
        place=80,
        label="refusals",
        group="style",
        kind="share",
        digits=1,
        unit="percentage points",
        score=score_refusal,
    ),
    AnswerMeasure(
        name="ai_admissions",
        place=81,
        label="admits to be an AI",
        group="style",
        kind="share",
        digits=1,
        unit="percentage points",
        score=score_ai_admission,
    ),
]
