"""Refusals and admissions: shares of answers that refuse, or admit to being a model.

Both are found by English phrases (:mod:`infra.text.refusals`), which err towards keeping: the
rates are lower bounds, and 0 for a model that answers in another language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes
from tasks.measures.measure import AnswerMeasure
from tasks.records import Answer


def score_refusal(row: Answer) -> float:
    """Return 1 for an answer that refuses, 0 for another."""
    return float(find_refusal(fold_quotes(row.answer)) is not None)


def score_ai_admission(row: Answer) -> float:
    """Return 1 for an answer that admits to being a model though its persona is none."""
    return float(find_ai_admission(fold_quotes(row.answer), row.persona) is not None)


def _score_suspected(
    score: Callable[[Answer], float], rows: Sequence[Answer], suspected: npt.NDArray[np.bool_]
) -> Iterator[float]:
    for row, may in zip(rows, suspected.tolist(), strict=True):
        yield score(row) if may else 0.0


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
        score_all=lambda rows, batch: _score_suspected(score_refusal, rows, batch.may_refuse),
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
        score_all=lambda rows, batch: _score_suspected(score_ai_admission, rows, batch.may_admit),
    ),
]
