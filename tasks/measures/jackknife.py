"""Puts an interval around any figure of rows, by leaving out one persona after the other.

Alpha, kappa and correlations have no error that can be written down. The jackknife takes theirs
from how the figure moves without each persona in turn: no resampling, so no seed, and the same
digits every time. As for means the persona is what was drawn, and the interval takes Student's t
with as many degrees of freedom as there are personas but one (Efron and Stein 1981; over clusters
as in Cameron and Miller 2015). Of many personas several leave together (Kott 2001): each takes the
figure over all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tasks.measures.statistics import CONFIDENCE
from tasks.measures.student_t import t_quantile

R = TypeVar("R")

MOST_GROUPS = 100
"""Groups in which personas leave; with 99 degrees of freedom t is the normal's within 1 %."""


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
    names = sorted({persona(row) for row in rows})
    value, count = figure(rows), min(len(names), MOST_GROUPS)
    unbounded = Bounded(value, None, None, len(rows), len(names))
    if value is None or count < 2:
        return unbounded
    place = {name: number % count for number, name in enumerate(names)}
    groups = [place[persona(row)] for row in rows]
    without = [
        figure([row for row, group in zip(rows, groups, strict=True) if group != left])
        for left in range(count)
    ]
    known = [one for one in without if one is not None]
    if len(known) < count:
        return unbounded
    mean = math.fsum(known) / count
    error = math.sqrt((count - 1) / count * math.fsum((one - mean) ** 2 for one in known))
    reach = error * t_quantile(0.5 + confidence / 2, count - 1)
    return replace(unbounded, low=max(limits[0], value - reach), high=min(limits[1], value + reach))
