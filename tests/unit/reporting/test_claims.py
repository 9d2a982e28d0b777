"""Checks which differences the headline tests, and which of them are clear of 0."""

from __future__ import annotations

import pytest

from tasks.reporting.sections.claims import correct_claims, is_clear

from .worlds import make_comparison


@pytest.mark.parametrize(
    ("mean", "clear"), [(0.5, True), (-0.5, True), (0.05, False), (None, False)]
)
def test_a_difference_is_clear_if_its_interval_leaves_0_out(
    mean: float | None, clear: bool
) -> None:
    assert is_clear(make_comparison("persona_score", mean)) == clear


def test_all_that_is_tested_counts_and_nothing_else() -> None:
    told = [make_comparison("persona_score", 0.5), make_comparison("loops", 0.0, p_value=1.0)]
    others = [
        make_comparison("words", 3.0),
        make_comparison("score", 0.5, task="expected_action"),
        make_comparison("attribution", 0.5, p_value=None, low=None, high=None),
    ]
    claims = correct_claims([*told, *others])
    assert claims.tested == 2
    assert [claims.find_p(item) for item in told] == [0.0008, 1.0]
    assert [claims.find_p(item) for item in others] == [None, None, None]


def test_a_claim_holds_only_if_its_corrected_p_does_too() -> None:
    weak = make_comparison("persona_score", 0.5, p_value=0.03)
    assert correct_claims([weak]).holds(weak)
    assert not correct_claims([weak, make_comparison("attribution", 0.0, p_value=0.9)]).holds(weak)
