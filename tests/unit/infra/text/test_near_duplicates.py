"""Proves that near twins are found among many, and only real ones."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.near_duplicates import find_near_duplicates

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "isle",
    "jade",
    "kelp",
    "larch",
    "moss",
    "nook",
    "oak",
]


def sentences(count: int, seed: int, words: int = 14) -> list[str]:
    dice = random.Random(seed)
    return [
        " ".join(f"{dice.choice(WORDS)}{dice.randrange(999)}" for _ in range(words))
        for _ in range(count)
    ]


def similarity(one: str, other: str, width: int = 5) -> float:
    sets = [{t[i : i + width] for i in range(max(1, len(t) - width + 1))} for t in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_edited_copies_are_found_among_many() -> None:
    texts = sentences(400, seed=1)
    copies = [f"{text[:40]}{'x' if text[40] != 'x' else 'y'}{text[41:]}" for text in texts[:100]]
    twins = find_near_duplicates([*texts, *copies], threshold=0.85)
    assert twins[:400] == [None] * 400
    assert twins[400:] == list(range(100))


def test_case_and_spacing_do_not_hide_a_twin() -> None:
    assert find_near_duplicates(["A nurse at night", " a  NURSE at\nnight "], threshold=0.9) == [
        None,
        0,
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab c", max_size=12), max_size=30), st.sampled_from([0.5, 0.85]))
def test_every_twin_is_an_earlier_kept_text_that_is_similar_enough(
    texts: list[str], threshold: float
) -> None:
    twins = find_near_duplicates(texts, threshold=threshold)
    folded = [" ".join(text.casefold().split()) for text in texts]
    for index, twin in enumerate(twins):
        if twin is not None:
            assert twin < index
            assert twins[twin] is None
            assert similarity(folded[index], folded[twin]) >= threshold


def test_groups_are_kept_apart() -> None:
    texts = ["the very same sentence"] * 4
    assert find_near_duplicates(texts, threshold=0.85, groups=["a", "b", "a", "b"]) == [
        None,
        None,
        0,
        1,
    ]
    many = find_near_duplicates(texts * 10, threshold=0.85, groups=["a", "b"] * 20)
    assert many == [None, None, *[0, 1] * 19]


@pytest.mark.parametrize(
    "text", ["", "a", "\ud800", "<|eot_id|>", "{{ x }}", "\u202eabc", "x" * 20_000]
)
def test_odd_texts_match_themselves_and_nothing_else(text: str) -> None:
    others = sentences(12, seed=3)
    twins = find_near_duplicates([text, *others, text], threshold=0.85)
    assert twins == [None] * 13 + [0]


def test_no_texts_give_no_twins() -> None:
    assert find_near_duplicates([], threshold=0.85) == []


def test_the_seed_decides_nothing_that_is_clearly_apart_or_alike() -> None:
    texts = [*sentences(50, seed=5), *sentences(50, seed=5)]
    found = {tuple(find_near_duplicates(texts, threshold=0.85, seed=seed)) for seed in range(3)}
    assert found == {tuple([None] * 50 + list(range(50)))}
