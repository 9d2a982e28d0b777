"""Checks how numbers are written."""

from __future__ import annotations

import math

import pytest

from tasks.reporting.figures import (
    MINUS,
    write_dollars,
    write_number,
    write_p,
    write_seconds,
    write_share,
)


@pytest.mark.parametrize(
    ("value", "digits", "signed", "wanted"),
    [
        (1234.567, 1, False, "1,234.6"),
        (-0.5, 2, False, f"{MINUS}0.50"),
        (0.5, 2, True, "+0.50"),
        (-0.001, 2, True, "0.00"),
        (0.001, 2, True, "0.00"),
        (None, 2, True, "–"),
        (math.nan, 2, False, "–"),
        (math.inf, 2, False, "–"),
    ],
)
def test_numbers(value: float | None, digits: int, signed: bool, wanted: str) -> None:
    assert write_number(value, digits, signed=signed) == wanted


def test_shares_are_per_cent() -> None:
    assert write_share(0.8125) == "81.2 %"
    assert write_share(-0.04, 0) == f"{MINUS}4 %"
    assert write_share(None) == "–"


def test_a_p_value_is_never_zero() -> None:
    assert [write_p(value) for value in (0.0, 0.00099, 0.001, 0.4)] == [
        "< 0.001", "< 0.001", "0.001", "0.400",
    ]  # fmt: skip


def test_times_have_a_unit_that_fits() -> None:
    assert [write_seconds(value) for value in (4.06, 119, 750, 7200, 90_000)] == [
        "4.1 s", "119.0 s", "12.5 min", "2.0 h", "25.0 h",
    ]  # fmt: skip


def test_small_amounts_keep_digits_that_say_something() -> None:
    assert [write_dollars(value) for value in (0, 0.00001, 0.0123, 2.5, 1234)] == [
        "$0.00", "< $0.0001", "$0.0123", "$2.50", "$1,234.00",
    ]  # fmt: skip
