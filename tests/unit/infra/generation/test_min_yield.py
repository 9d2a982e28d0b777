"""Checks when a stage counts as failing, and what is said of it."""

from __future__ import annotations

import pytest

from infra.errors import YieldError
from infra.generation.min_yield import check_yield

REASONS = {"empty": 3, "not_json": 9}


def check(accepted: int, rows: int, *, early: bool) -> None:
    check_yield(
        "characters",
        0.6,
        accepted=accepted,
        rows=rows,
        reasons=REASONS,
        samples=["not_json: {"],
        early=early,
    )


@pytest.mark.parametrize(("accepted", "rows"), [(60, 100), (100, 100), (0, 0)])
def test_enough_is_enough(accepted: int, rows: int) -> None:
    check(accepted, rows, early=False)


def test_below_it_names_counts_commonest_reason_first_and_samples() -> None:
    with pytest.raises(YieldError) as caught:
        check(59, 100, early=False)
    text = str(caught.value)
    assert "59 of 100 rows accepted (59%), below its min_yield of 60%" in text
    assert text.index("9 × not_json") < text.index("3 × empty")
    assert "not_json: {" in text


def test_of_many_reasons_the_four_commonest_are_named() -> None:
    reasons = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
    with pytest.raises(YieldError) as caught:
        check_yield("notes", 0.5, accepted=0, rows=15, reasons=reasons, samples=[], early=False)
    assert "Rejected: 5 × five, 4 × four, 3 × three, 2 × two." in str(caught.value)


def test_early_only_what_chance_cannot_explain_counts() -> None:
    check(50, 100, early=True)
    with pytest.raises(YieldError):
        check(45, 100, early=True)
    with pytest.raises(YieldError):
        check(550, 1000, early=True)
