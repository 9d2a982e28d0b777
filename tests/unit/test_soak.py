"""Tests that a soak tells growth from warming up, from noise, and from what grows by design."""

from __future__ import annotations

import pytest

from tests.soak.__main__ import is_too_much, write_curve, write_growth
from tests.soak.samples import Growth, Sample, measure_growth


def make_samples(count: int = 80) -> list[Sample]:
    """Return samples a minute apart, at 6,000 rows a minute, of three kinds of processes."""
    return [
        Sample(
            seconds=60.0 * n,
            rows=6_000 * n,
            sizes={
                "flat": 300.0 if n > 20 else 10.0 * n,
                "leaks": 200.0 + 3 * n,
                "noisy": 400.0 + (25 if n % 2 else -25),
            },
        )
        for n in range(count)
    ]


def test_growth_is_that_of_the_second_half() -> None:
    found = {growth.kind: growth for growth in measure_growth(make_samples())}
    assert found["flat"].per_hour == 0 and found["flat"].first == found["flat"].last == 300
    assert found["leaks"].per_hour == pytest.approx(180)
    assert found["leaks"].per_rows == pytest.approx(50)
    assert found["leaks"].last - found["leaks"].first == pytest.approx(90)
    assert abs(found["noisy"].last - found["noisy"].first) < 1


def test_what_leaks_fails_and_what_grows_by_design_does_not() -> None:
    found = {growth.kind: growth for growth in measure_growth(make_samples())}
    assert [kind for kind in found if is_too_much(found[kind], most=64)] == ["leaks"]
    assert not is_too_much(found["leaks"], most=100)
    assert not is_too_much(Growth("large", 4_000, 4_100, 0, 0), most=64), "less than a tenth"
    assert not is_too_much(Growth("rows", 10, 900, 0, 0), most=64)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="run longer"):
        measure_growth(make_samples(6))


def test_the_tables_say_when_and_how_much() -> None:
    samples = make_samples()
    curve = write_curve(samples).splitlines()
    assert len(curve) == 14 and curve[2].startswith("| 0.0 | 0 | ")
    assert curve[-1] == "| 79.0 | 474,000 | 300 | 437 | 425 |"
    assert "| leaks | 334 | 424 | +50.0 | +180 |" in write_growth(measure_growth(samples))
