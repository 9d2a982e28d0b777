"""Puts an interval around any figure of rows, by leaving out one persona after the other.

Alpha, kappa and correlations have no error that can be written down. The jackknife takes theirs
from how the figure moves without each persona in turn: no resampling, so no seed, and the same
digits every time. As for means the persona is what was drawn, and the interval takes Student's t
with as many degrees of freedom as there are personas but one (Efron and Stein 1981; over clusters
as in Cameron and Miller 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.measures.statistics import CONFIDENCE
from tasks.measures.student_t import t_quantile

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Bounded:
    """Figure with its interval.

    Attributes:
        value: ``None`` where the rows do not tell it.
        low: Lower bound; ``None`` below two personas, and where some persona cannot be left out
            because the others alone do not tell the figure.
        high: Upper bound.
        rows: Rows that entered.
        personas: Whom they are of.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int
    personas: int


def bound_figure(
    rows: Sequence[R],
    persona: Callable[[R], str],
    figure: Callable[[Sequence[R]], float | None],
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = CONFIDENCE,
) -> Bounded:
    """Return a figure of rows with its interval, within the ``limits`` that the figure has."""
    names = [persona(row) for row in rows]
    clusters = list(dict.fromkeys(names))
    value, count = figure(rows), len(clusters)
    if value is None or count < 2:
        return Bounded(value, None, None, len(rows), count)
    without = [
        figure([row for row, name in zip(rows, names, strict=True) if name != left])
        for left in clusters
    ]
    known = [one for one in without if one is not None]
    if len(known) < count:
        return Bounded(value, None, None, len(rows), count)
    mean = math.fsum(known) / count
    error = math.sqrt((count - 1) / count * math.fsum((one - mean) ** 2 for one in known))
    reach = error * t_quantile(0.5 + confidence / 2, count - 1)
    low, high = max(limits[0], value - reach), min(limits[1], value + reach)
    return Bounded(value, low, high, len(rows), count)
