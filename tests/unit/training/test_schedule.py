"""Tests the learning rates of a run, step by step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.ranks.schedule import RateSchedule


def test_the_paper_s_rates_fall_in_equal_steps_and_end_exactly() -> None:
    schedule = RateSchedule(10, 0.0, 1e-5, 1e-6)
    rates = [schedule.rate_at(step) for step in range(10)]
    assert rates[0] == 1e-5
    assert rates[-1] == 1e-6
    falls = [one - other for one, other in itertools.pairwise(rates)]
    assert falls == pytest.approx([1e-6] * 9)


def test_the_warm_up_climbs_to_the_peak() -> None:
    schedule = RateSchedule(10, 0.3, 4e-4, 0.0)
    assert [schedule.rate_at(step) for step in range(4)] == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4])
    assert schedule.rate_at(9) == 0.0


@given(
    steps=st.integers(2, 400),
    share=st.floats(0, 0.99),
    peak=st.floats(1e-7, 1.0),
    end=st.floats(0, 1.0),
)
def test_rates_rise_to_the_peak_once_and_end_at_the_final_one(
    steps: int, share: float, peak: float, end: float
) -> None:
    final = peak * end
    schedule = RateSchedule(steps, share, peak, final)
    rates = [schedule.rate_at(step) for step in range(steps)]
    assert rates[-1] == final
    assert all(0 <= rate <= peak for rate in rates)
    warm, fall = rates[: schedule.warmup_steps], rates[schedule.warmup_steps :]
    assert warm == sorted(warm)
    assert all(one >= other - 1e-15 for one, other in itertools.pairwise(fall))
    assert schedule.rate_at(steps + 5) == final


def test_a_single_step_uses_the_peak() -> None:
    assert RateSchedule(1, 0.5, 1e-5, 1e-6).rate_at(0) == 1e-5
