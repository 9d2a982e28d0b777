"""Length of an answer in words; one without a word has none."""

from __future__ import annotations

from infra.text.wording import split_words
from tasks.measures.measure import AnswerMeasure
from tasks.records import Answer


def count_words(row: Answer) -> float | None:
    """Return the words of an answer, ``None`` where nothing is said."""
    return float(len(split_words(row.answer))) or None


MEASURES = [
    AnswerMeasure(
        name="words",
        place=40,
        label="words an answer",
        group="style",
        digits=1,
        unit="words",
        score=count_words,
        score_all=lambda _, batch: [float(count) or None for count in batch.words],
    )
]
