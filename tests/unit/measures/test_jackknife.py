"""Checks the jackknife against intervals that can be written down, and where there is none."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from tasks.measures.jackknife import MOST_GROUPS, bound_figure
from tasks.measures.statistics import Score, estimate_mean
from tasks.measures.student_t import t_quantile

Row = tuple[str, float]


def average(rows: Sequence[Row]) -> float | None:
    return math.fsum(value for _, value in rows) / len(rows) if rows else None


def name(row: Row) -> str:
    return row[0]


def test_of_a_mean_with_a_row_a_persona_it_is_the_textbook_interval() -> None:
    rows = [("a", 1.0), ("b", 2.0), ("c", 4.0), ("d", 5.0)]
    found = bound_figure(rows, name, average)
    told = estimate_mean([Score(who, who, "", value) for who, value in rows])
    assert (found.value, found.rows, found.personas) == (3.0, 4, 4)
    assert told.low is not None and told.high is not None
    assert found.low == pytest.approx(told.low)
    assert found.high == pytest.approx(told.high)


def test_a_persona_leaves_as_a_whole() -> None:
    # Without a: mean of 4, 4; without b or c: mean of 1, 1, 4.
    rows = [("a", 1.0), ("a", 1.0), ("b", 4.0), ("c", 4.0)]
    without = (4.0, 2.0, 2.0)
    mean = sum(without) / 3
    error = math.sqrt(2 / 3 * sum((one - mean) ** 2 for one in without))
    found = bound_figure(rows, name, average)
    assert found.value == 2.5
    assert found.high == pytest.approx(2.5 + error * t_quantile(0.975, 2))


def test_of_many_personas_several_leave_together_and_the_interval_stays_what_it_was() -> None:
    dice = random.Random(1)
    rows = [(f"p{number}", dice.gauss(0, 1)) for number in range(1_000)]
    asked: list[int] = []

    def count(some: Sequence[Row]) -> float | None:
        asked.append(len(some))
        return average(some)

    found = bound_figure(rows, name, count)
    told = estimate_mean([Score(who, who, "", value) for who, value in rows])
    assert (len(asked), found.personas) == (1 + MOST_GROUPS, 1_000)
    assert found.low is not None and told.low is not None
    assert found.value is not None and told.mean is not None
    assert found.value - found.low == pytest.approx(told.mean - told.low, rel=0.15)
    dice.shuffle(rows)
    assert bound_figure(rows, name, average) == found


def test_bounds_stay_within_the_limits_of_the_figure() -> None:
    rows = [("a", 0.0), ("b", 1.0)]
    found = bound_figure(rows, name, average, limits=(0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_there_is_no_interval_where_the_rest_does_not_tell_the_figure() -> None:
    rows = [("a", 1.0), ("b", 2.0)]
    assert bound_figure(rows[:1], name, average).low is None
    assert bound_figure([], name, average).value is None
    spread = bound_figure(rows, name, lambda some: None if len(some) < 2 else 0.5)
    assert (spread.value, spread.low, spread.high) == (0.5, None, None)
