"""Checks quantiles of Student's t against printed tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.student_t import t_probability, t_quantile


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 4, 2.7764),
        (0.975, 10, 2.2281),
        (0.975, 30, 2.0423),
        (0.975, 120, 1.9799),
        (0.95, 5, 2.0150),
        (0.995, 2, 9.9248),
        (0.8, 10, 0.8791),
        (0.9995, 3, 12.924),
    ],
)
def test_quantiles_are_those_of_the_tables(
    probability: float, degrees: int, quantile: float
) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(quantile, abs=6e-5 * quantile)
    assert t_quantile(1 - probability, degrees) == pytest.approx(-quantile, rel=6e-5)


def test_many_degrees_of_freedom_give_the_normal_distribution() -> None:
    assert t_quantile(0.975, 1e6) == pytest.approx(1.959963985, abs=3e-6)
    assert t_quantile(0.5, 7) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("degrees", [1.0, 2.0])
@given(st.floats(-50, 50))
def test_one_and_two_degrees_have_a_closed_form(degrees: float, t: float) -> None:
    closed = 0.5 + math.atan(t) / math.pi if degrees == 1 else 0.5 + t / 2 / math.sqrt(2 + t * t)
    assert t_probability(t, degrees) == pytest.approx(closed, abs=1e-12)


@pytest.mark.parametrize("degrees", [0.5, 1.0, 30.0])
def test_half_lies_below_zero_and_all_below_what_has_no_bound(degrees: float) -> None:
    assert t_probability(0.0, degrees) == 0.5
    assert (t_probability(-1e200, degrees), t_probability(1e200, degrees)) == (0.0, 1.0)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.5, 500))
def test_the_quantile_undoes_the_probability(probability: float, degrees: float) -> None:
    found = t_probability(t_quantile(probability, degrees), degrees)
    assert found == pytest.approx(probability, abs=1e-10)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.9, 0), (0.9, -1)])
def test_what_has_no_quantile_is_an_error(probability: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(probability, degrees)
