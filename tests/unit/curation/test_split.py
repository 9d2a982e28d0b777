"""Proves that whole characters are held out, and that growth displaces few of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.curation.split import choose_validation

PERSONAS = st.sets(st.text("abcdef", min_size=1, max_size=6), max_size=40)


@given(PERSONAS, PERSONAS, st.floats(0.01, 0.9))
def test_growth_displaces_only_what_newcomers_outrank(
    personas: set[str], newcomers: set[str], share: float
) -> None:
    before = choose_validation(personas, share=share, least=1, seed=7)
    after = choose_validation(personas | newcomers, share=share, least=1, seed=7)
    added = newcomers - personas
    assert len(before - after) <= len(after & added)


@given(PERSONAS, st.floats(0, 0.99), st.integers(0, 50))
def test_somebody_is_left_to_train_on(personas: set[str], share: float, least: int) -> None:
    held_out = choose_validation(personas, share=share, least=least, seed=0)
    assert held_out <= personas
    assert not personas or held_out < personas


@pytest.mark.parametrize("personas", ["ab", "abc"])
def test_all_but_one_are_held_out_where_more_are_asked_for(personas: str) -> None:
    held_out = choose_validation(personas, share=0.9, least=5, seed=0)
    assert len(held_out) == len(personas) - 1


def test_sizes_follow_share_and_least() -> None:
    personas = [str(number) for number in range(200)]
    assert len(choose_validation(personas, share=0.05, least=1, seed=0)) == 10
    assert len(choose_validation(personas, share=0.001, least=3, seed=0)) == 3
    assert not choose_validation(personas, share=0, least=3, seed=0)
