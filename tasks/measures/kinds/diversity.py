"""Distinct-n: how many of all runs of n words differ (Li et al. 2016, arXiv 1510.03055)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tasks.measures.measure import CorpusMeasure


def measure_distinct(answers: Sequence[Sequence[str]], width: int) -> float | None:
    """Return distinct-n: different runs of n words over all runs, across all answers.

    Runs do not cross from one answer into the next. ``None`` if no answer has n words. The more
    words there are, the lower it falls, whatever the model.
    """
    seen: set[tuple[str, ...]] = set()
    total = 0
    for words in answers:
        runs = list(zip(*(words[start:] for start in range(width)), strict=False))
        seen.update(runs)
        total += len(runs)
    return len(seen) / total if total else None


def _measure(
    width: int, answers: Sequence[Sequence[str]], personas: Sequence[str], seed: int
) -> float | None:
    return measure_distinct(answers, width)


MEASURES = [
    CorpusMeasure(
        name=f"distinct_{width}",
        place=50 + width,
        label=f"distinct-{width}",
        group="style",
        digits=3,
        measure=partial(_measure, width),
    )
    for width in (1, 2, 3)
]
