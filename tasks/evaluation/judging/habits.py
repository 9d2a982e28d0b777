"""Looks at what a judge does whatever it is shown: one score for all, reasons that cite nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from infra.store.fingerprints import content_key
from infra.text.batches.screening import TextBatch
from tasks.records import Judgement
from tasks.scores import JudgeHabit

CITED_WORDS = 4
"""Words in a row that a reason shares with the answer it cites."""


def list_habits(
    judges: Iterable[str], judgements: Iterable[Judgement], answers: Mapping[str, str]
) -> Iterator[JudgeHabit]:
    """Yield the habits of each judge that gave a verdict.

    ``answers`` are their words by key, folded, a blank between two.
    """
    rows = [row for row in judgements if row.score is not None]
    for judge in judges:
        given = [row for row in rows if row.judge == judge]
        if given:
            yield measure_habit(judge, given, answers)


def measure_habit(
    judge: str, judgements: Iterable[Judgement], answers: Mapping[str, str]
) -> JudgeHabit:
    """Measure the habits of one judge from its verdicts, of which there is one at least.

    An answer of fewer than :data:`CITED_WORDS` words cannot be cited, and a verdict without a
    reason gives none: neither counts among the reasons. Of equally common scores the lowest is
    told.
    """
    rows = list(judgements)
    scores = Counter(row.score for row in rows if row.score is not None)
    commonest, count = min(scores.items(), key=lambda item: (-item[1], item[0]))
    reasons = TextBatch([row.justification for row in rows]).folded
    cited = [
        found
        for row, reason in zip(rows, reasons, strict=True)
        if (found := _cites(reason, answers.get(row.answer_key, ""))) is not None
    ]
    return JudgeHabit(
        key=content_key("habit", judge),
        judge=judge,
        rows=scores.total(),
        commonest=commonest,
        share=count / scores.total(),
        reasons=len(cited),
        citing=sum(cited) / len(cited) if cited else None,
    )


def _cites(reason: str, answer: str) -> bool | None:
    """Tell whether a reason shares a run of words with an answer; ``None`` if it could not.

    Both are words with a blank between two.
    """
    if not reason or answer.count(" ") + 1 < CITED_WORDS:
        return None
    said, told = f" {answer} ", reason.split(" ")
    runs = zip(*(told[start:] for start in range(CITED_WORDS)), strict=False)
    return any(f" {' '.join(run)} " in said for run in runs)
