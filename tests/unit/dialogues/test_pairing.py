"""Proves that pairing is uniform, without replacement, and stable under growth."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.store.fingerprints import content_key
from tasks.dialogues.pairing import choose_characters


def make_keys(kind: str, count: int) -> list[str]:
    return [content_key(kind, str(number)) for number in range(count)]


def pair(questions: list[str], personas: list[str], n: int, seed: int = 0) -> dict[str, list[str]]:
    chosen = choose_characters(questions, personas, n, seed)
    return {
        question: [personas[position] for position in row]
        for question, row in zip(questions, chosen.tolist(), strict=True)
    }


def test_each_question_gets_n_different_characters() -> None:
    pairs = pair(make_keys("q", 200), make_keys("p", 50), 3)
    assert all(len(set(chosen)) == len(chosen) == 3 for chosen in pairs.values())


def test_a_question_chooses_alike_alone_and_among_thousands() -> None:
    asked, personas = make_keys("q", 2_500), make_keys("p", 30)
    together = pair(asked, personas, 3)
    for question in (asked[0], asked[999], asked[1_000], asked[-1]):
        assert pair([question], personas, 3)[question] == together[question]


def test_characters_are_chosen_evenly() -> None:
    personas = make_keys("p", 40)
    pairs = pair(make_keys("q", 4000), personas, 3)
    counts = Counter(persona for chosen in pairs.values() for persona in chosen)
    expected = 4000 * 3 / 40
    chi_square = sum((counts[persona] - expected) ** 2 / expected for persona in personas)
    assert chi_square < 80  # 39 degrees of freedom: p is below 0.0001


def test_two_questions_choose_independently() -> None:
    pairs = pair(make_keys("q", 3000), make_keys("p", 20), 2)
    together = Counter(tuple(sorted(chosen)) for chosen in pairs.values())
    assert len(together) == 190
    assert max(together.values()) < 45  # 15.8 expected of each of the 190 pairs


@settings(max_examples=60, deadline=None)
@given(
    personas=st.integers(3, 60),
    added=st.integers(0, 30),
    questions=st.integers(1, 20),
    n=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_more_personas_displace_only_pairs_where_a_new_one_belongs(
    personas: int, added: int, questions: int, n: int, seed: int
) -> None:
    keys, asked = make_keys("p", personas + added), make_keys("q", questions)
    old, new = set(keys[:personas]), set(keys[personas:])
    before, after = pair(asked, keys[:personas], n, seed), pair(asked, keys, n, seed)
    for question in asked:
        came = set(after[question]) & new
        kept = [persona for persona in before[question] if persona in after[question]]
        assert set(after[question]) - came <= set(before[question])
        assert len(kept) == n - len(came)
        assert kept == before[question][: len(kept)]
        assert set(before[question]) <= old


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(6)))
def test_order_of_personas_and_questions_does_not_matter(
    persona_order: list[int], question_order: list[int]
) -> None:
    personas, questions = make_keys("p", 12), make_keys("q", 6)
    turned = pair([questions[i] for i in question_order], [personas[i] for i in persona_order], 3)
    assert turned == pair(questions, personas, 3)


def test_a_larger_n_only_adds() -> None:
    questions, personas = make_keys("q", 100), make_keys("p", 30)
    two, five = pair(questions, personas, 2), pair(questions, personas, 5)
    assert all(five[question][:2] == two[question] for question in questions)


def test_the_short_cut_for_many_characters_chooses_what_a_full_ranking_would() -> None:
    """Of 12,000 questions about four have no character near enough for the short cut."""
    questions, personas = make_keys("q", 12_000), make_keys("p", 200)
    chosen = choose_characters(questions, personas, 1, 0)
    ranked = choose_characters(questions, personas, len(personas), 0)
    assert (chosen[:, 0] == ranked[:, 0]).all()


def test_another_seed_chooses_anew() -> None:
    questions, personas = make_keys("q", 300), make_keys("p", 30)
    one, two = pair(questions, personas, 1, seed=0), pair(questions, personas, 1, seed=1)
    same = sum(one[question] == two[question] for question in questions)
    assert same < 30  # 10 expected by chance


def test_every_character_answers_when_n_is_all_of_them() -> None:
    personas = make_keys("p", 5)
    (chosen,) = pair(make_keys("q", 1), personas, 5).values()
    assert sorted(chosen) == sorted(personas)


def test_too_few_characters_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 characters a question, but only 2"):
        choose_characters(make_keys("q", 1), make_keys("p", 2), 3, 0)


def test_no_questions_make_no_pairs() -> None:
    assert choose_characters([], make_keys("p", 3), 2, 0).shape == (0, 2)
