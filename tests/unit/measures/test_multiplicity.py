"""Checks Holm's correction by hand, and by what it promises."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tasks.measures.multiplicity import correct_by_holm


def test_by_hand() -> None:
    # 0.01 * 4; 0.02 * 3; 0.03 * 2 = 0.06 ties with the one before; 0.9 * 1.
    found = correct_by_holm([0.03, 0.01, 0.9, 0.02])
    assert [round(p, 6) for p in found] == [0.06, 0.04, 0.9, 0.06]
    assert correct_by_holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_nothing_gets_smaller_or_changes_its_place(p_values: list[float]) -> None:
    found = correct_by_holm(p_values)
    assert all(one <= two <= 1 for one, two in zip(p_values, found, strict=True))
    order = sorted(range(len(found)), key=lambda i: p_values[i])
    assert [found[i] for i in order] == sorted(found)


def test_of_families_without_any_difference_one_in_twenty_claims_one() -> None:
    dice = random.Random(7)
    plain = wrong = 0
    for _ in range(4_000):
        p_values = [dice.random() for _ in range(8)]
        plain += min(p_values) < 0.05
        wrong += min(correct_by_holm(p_values)) < 0.05
    assert 0.04 < wrong / 4_000 < 0.06
    assert plain / 4_000 > 0.3
