"""Distinct-n: how many of all runs of n words differ (Li et al. 2016, arXiv 1510.03055)."""

from __future__ import annotations

from functools import partial

import polars as pl

from tasks.measures.corpus import Corpus
from tasks.measures.measure import CorpusMeasure


def measure_distinct(corpus: Corpus, width: int) -> float | None:
    """Return distinct-n: different runs of n words over all runs, across all answers.

    Runs do not cross from one answer into the next. ``None`` if no answer has n words. The more
    words there are, the lower it falls, whatever the model.
    """
    runs, _ = corpus.number_runs(width)
    return pl.Series(runs).n_unique() / len(runs) if len(runs) else None


def _measure(width: int, corpus: Corpus, seed: int) -> float | None:
    return measure_distinct(corpus, width)


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
