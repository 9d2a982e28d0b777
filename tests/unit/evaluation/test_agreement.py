"""Checks Krippendorff's alpha against published examples, and its interval against sense."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.judging import agreement
from tasks.evaluation.judging.agreement import (
    Agreement,
    find_alpha,
    find_kappa,
    measure_agreement,
)

# Krippendorff 2011, example C: a row an observer, a column a unit, "." a missing value.
FOUR_OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")

# Hayes and Krippendorff 2007, table 1: the tone of 40 articles by five observers.
NEWS_TONE = (
    "112.2 1101. 2333. .00.0 000.0 000.0 102.1 1.20. 222.2 2111. .100. 0000. 1222. 33223 111.1"
    " 111.1 212.2 1233. 1101. 000.0 0011. 00.00 2333. 0000. 12.22 0111. 00010 1212. 1122. 112.2"
    " 110.0 2121. 22.22 3222. 222.2 223.2 222.2 22.12 2222. 111.1"
)

Ratings = list[tuple[str, str, float | None]]


class Own(dict[str, str]):
    """Persona of each unit: one of its own, called like the unit."""

    def __missing__(self, unit: str) -> str:
        return unit


def rate(units: Sequence[Sequence[float | None]]) -> Ratings:
    return [
        (f"u{unit}", f"r{rater}", value)
        for unit, row in enumerate(units)
        for rater, value in enumerate(row)
    ]


def read(units: Sequence[str]) -> Ratings:
    return rate([[None if mark == "." else float(mark) for mark in unit] for unit in units])


def measure(
    ratings: Ratings, resamples: int = 200, personas: Mapping[str, str] | None = None
) -> Agreement:
    whose = Own() if personas is None else personas
    return measure_agreement(ratings, whose, seed=1, resamples=resamples)


def test_the_example_of_four_observers() -> None:
    columns = ["".join(marks) for marks in zip(*FOUR_OBSERVERS, strict=True)]
    found = measure(read(columns))
    assert found.alpha == pytest.approx(0.815, abs=5e-4)
    assert (found.units, found.ratings, found.single, found.raters) == (11, 40, 1, 4)
    assert found.missing == 4 * 12 - 41


def test_the_tone_of_the_news() -> None:
    found = measure(read(NEWS_TONE.split()))
    assert found.alpha == pytest.approx(0.7598, abs=5e-5)
    assert (found.units, found.raters) == (40, 5)


def test_by_hand() -> None:
    # Pairs (1,1), (1,2), (2,2): n_1 = n_2 = 3, so one distance of 3 squared = 9 throughout.
    # Seen 2 * 9, expected 2 * 3 * 3 * 9, alpha = 1 - 5 * 18 / 162.
    found = measure(rate([[1, 1], [1, 2], [2, 2]]))
    assert found.alpha == pytest.approx(1 - 5 * 18 / 162)
    assert (found.units, found.single) == (3, 0)


def test_alpha_alone_by_hand() -> None:
    assert find_alpha([(1, 1), (1, 2), (2, 2)]) == pytest.approx(1 - 5 * 18 / 162)
    assert find_alpha([(1, 1), (1, 2), (2, 2), (5,)]) == pytest.approx(1 - 5 * 18 / 162)
    assert find_alpha([(1,), (2,)]) is None
    assert find_alpha([(3, 3), (3, 3)]) is None


def test_kappa_by_hand() -> None:
    # Seen (3-2)² / 4; expected over all 16 pairs 6 + 2 + 6 + 6 = 20, / 16: 1 - 0.25 / 1.25.
    assert find_kappa([(1, 1), (2, 2), (3, 3), (3, 2)]) == pytest.approx(0.8)
    # Seen 4 / 3; expected 1 + 2 + 9 = 12, / 9.
    assert find_kappa([(1, 1), (2, 2), (3, 1)]) == pytest.approx(0.0)
    assert find_kappa([(2, 2), (2, 2)]) is None
    assert find_kappa([]) is None


def test_perfect_agreement_is_one_and_has_no_width() -> None:
    found = measure(rate([[1, 1], [3, 3], [5, 5], [2, 2]]))
    assert (found.alpha, found.low, found.high) == (1.0, 1.0, 1.0)


def test_only_the_order_of_values_counts() -> None:
    plain = rate([[1, 2], [2, 2], [3, 1], [3, 3]])
    stretched = [(unit, rater, 10.0 ** (value or 0)) for unit, rater, value in plain]
    assert measure(stretched).alpha == measure(plain).alpha


@pytest.mark.parametrize(
    "units", [[], [[1, None], [None, 2]], [[3, 3], [3, 3]], [[None, float("nan")]]]
)
def test_where_nothing_can_be_told_there_is_no_alpha(units: list[list[float | None]]) -> None:
    found = measure(rate(units))
    assert (found.alpha, found.low, found.high) == (None, None, None)


def test_strangers_agree_by_chance_and_the_interval_holds_it() -> None:
    dice = random.Random(3)
    found = measure(rate([[dice.randint(1, 5), dice.randint(1, 5)] for _ in range(400)]), 2000)
    assert found.alpha == pytest.approx(0.0, abs=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert 0.1 < found.high - found.low < 0.3


def test_the_interval_is_the_central_share_of_what_resamples_gave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agreement, "_alpha", lambda weights, _: np.arange(float(len(weights))))
    ratings = rate([[1, 2], [3, 3]])
    found = measure_agreement(ratings, Own(), seed=1, resamples=101, confidence=0.9)
    assert found.low == pytest.approx(5)
    assert found.high == pytest.approx(95)


def test_the_interval_is_the_same_however_many_resamples_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(4)
    ratings = rate([[dice.randint(1, 5), dice.randint(1, 5)] for _ in range(9)])
    at_once = measure(ratings)
    monkeypatch.setattr(agreement, "_BLOCK", 7 * 25)  # five values make matrices of 25 numbers
    assert measure(ratings) == at_once


def test_asking_the_same_personas_again_does_not_narrow_the_interval() -> None:
    dice = random.Random(5)
    once = [[float(dice.randint(1, 5)), float(dice.randint(1, 5))] for _ in range(12)]
    alone = measure(rate(once), 2000)
    many = rate(once * 10)
    again = measure(many, 2000, {f"u{n}": f"p{n % 12}" for n in range(120)})
    apart = measure(many, 2000)
    assert (again.personas, again.units, apart.personas) == (12, 120, 120)
    assert again.alpha == apart.alpha == pytest.approx(alone.alpha, abs=0.05)

    def width(found: Agreement) -> float:
        assert found.low is not None and found.high is not None
        return found.high - found.low

    assert width(again) == pytest.approx(width(alone), rel=0.1)
    assert width(apart) < width(again) / 2


def test_the_answers_of_one_persona_have_no_interval() -> None:
    units = rate([[1, 2], [2, 2], [4, 4], [5, 3]])
    found = measure(units, personas=dict.fromkeys(("u0", "u1", "u2", "u3"), "p"))
    assert found.alpha == measure(units).alpha
    assert (found.personas, found.low, found.high) == (1, None, None)


UNITS = st.lists(
    st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=3, max_size=3), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(UNITS, st.randoms(use_true_random=False))
def test_neither_rows_nor_names_nor_raters_have_an_order(
    units: list[list[float | None]], dice: random.Random
) -> None:
    plain = rate(units)
    shuffled = dice.sample(plain, len(plain))
    renamed = [(f"x{unit}", f"y{rater}", value) for unit, rater, value in shuffled]
    assert measure(shuffled) == measure(plain) == measure(renamed)


@settings(max_examples=60, deadline=None)
@given(UNITS)
def test_alpha_is_what_going_through_all_pairs_gives(units: list[list[float | None]]) -> None:
    known = [[value for value in unit if value is not None] for unit in units]
    paired = [unit for unit in known if len(unit) > 1]
    values = [value for unit in paired for value in unit]

    def distance(one: float, two: float) -> float:
        low, high = min(one, two), max(one, two)
        inside = sum(low <= value <= high for value in values)
        return (inside - (values.count(one) + values.count(two)) / 2) ** 2

    seen = sum(
        sum(distance(one, two) for one, two in permutations(unit, 2)) / (len(unit) - 1)
        for unit in paired
    )
    expected = sum(distance(one, two) for one, two in permutations(values, 2))
    found = measure(rate(units)).alpha
    if not expected:
        assert found is None
    else:
        assert found == pytest.approx(1 - (len(values) - 1) * seen / expected)


def test_a_rater_rates_a_unit_once() -> None:
    with pytest.raises(ValueError, match="r0 rated u0 twice"):
        measure([("u0", "r0", 1.0), ("u0", "r0", None)])
