"""Checks the measures of style by hand, and that they follow from no order of rows."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.batches.screening import TextBatch
from infra.text.wording import make_shingles, measure_jaccard
from tasks.evaluation.measures.scoring import measure_models
from tasks.measures.corpus import Corpus
from tasks.measures.evidence import Evidence
from tasks.measures.kinds.diversity import measure_distinct
from tasks.measures.kinds.openings import Openings, measure_openings
from tasks.measures.kinds.self_similarity import SelfSimilarity, measure_self_similarity
from tasks.measures.measure import AnswerMeasure
from tasks.measures.registry import MEASURES, find_measure_kind
from tasks.records import Answer
from tasks.scores import Measure
from tests.unit.infra.text.batches.writing import texts


def answer(text: str, persona: str = "p", number: int = 0, truncated: bool = False) -> Answer:
    return Answer(
        key=f"{persona}{number}",
        question_key=f"q{persona}{number}",
        persona_key=persona,
        persona="A baker from Rome",
        task="expected_action",
        model="tuned",
        question="What now?",
        answer=text,
        truncated=truncated,
    )


def corpus(answers: list[list[str]], names: list[str] | None = None) -> Corpus:
    return Corpus(list(map(" ".join, answers)), names or ["p"] * len(answers))


def test_distinct_runs_by_hand() -> None:
    answers = corpus([["a", "b", "a", "b"], ["a", "b"], ["c"]])
    assert measure_distinct(answers, 1) == 3 / 7
    assert measure_distinct(answers, 2) == 2 / 4  # no run crosses from one answer into the next
    assert measure_distinct(answers, 3) == 2 / 2
    assert measure_distinct(answers, 5) is None


def test_openings_by_hand() -> None:
    answers = [["o", "my", "dear", "x"], ["o", "my", "dear", "y"], ["well", "now"], ["hm"], []]
    found = measure_openings(corpus(answers))
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(4)
    assert (found.answers, found.distinct, found.commonest) == (4, 3, "o my dear")
    assert found.top_share == 0.5
    assert found.entropy == pytest.approx(entropy)


@pytest.mark.parametrize(("words", "entropy"), [("aaaa", 0.0), ("abcd", 1.0)])
def test_openings_of_one_kind_have_no_entropy_and_all_different_have_all(
    words: str, entropy: float
) -> None:
    assert measure_openings(corpus([[word] for word in words])).entropy == pytest.approx(entropy)


def test_nothing_said_has_no_opening() -> None:
    assert measure_openings(corpus([[], []])) == Openings(0, 0, "", None, None)
    assert measure_openings(corpus([["a"]])) == Openings(1, 1, "a", 1.0, None)


def test_self_similarity_by_hand_and_only_between_characters() -> None:
    # Trigrams: abc bcd | abc bcd | abc bce: 1 of 3 shared, twice; a's own two are not compared.
    answers = [list("abcd"), list("abcd"), list("abce")]
    assert measure_self_similarity(corpus(answers, ["a", "a", "b"]), seed=1) == SelfSimilarity(
        1 / 3, 2, exhaustive=True
    )
    assert measure_self_similarity(corpus(answers, ["a", "a", "a"]), seed=1).mean is None


def test_a_sample_of_pairs_comes_near_to_all() -> None:
    dice = random.Random(1)
    answers = [[dice.choice("abc") for _ in range(12)] for _ in range(120)]
    names = [f"c{min(n // 4, 9)}" for n in range(120)]  # one character has most answers
    whole = measure_self_similarity(corpus(answers, names), seed=1)
    part = measure_self_similarity(corpus(answers, names), seed=1, most_pairs=2000)
    assert whole.exhaustive
    assert not part.exhaustive
    assert part.pairs == 2000 < whole.pairs
    assert part.mean == pytest.approx(whole.mean, rel=0.03)
    assert part != measure_self_similarity(corpus(answers, names), seed=2, most_pairs=2000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=12))
def test_every_drawn_pair_is_of_two_characters(names: list[str]) -> None:
    # Answers of one character are equal and of others disjoint: a pair of one would show.
    answers = [[f"{name}{place}" for place in range(4)] for name in names]
    found = measure_self_similarity(corpus(answers, names), seed=1, most_pairs=1)
    assert found.mean == (0.0 if len(set(names)) > 1 else None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("pqr"), st.lists(st.sampled_from("ab"), max_size=5)), max_size=8
    )
)
def test_self_similarity_is_what_going_through_all_pairs_gives(
    rows: list[tuple[str, list[str]]],
) -> None:
    told = [row for row in rows if row[1]]
    values = [
        measure_jaccard(make_shingles(one[1], 3), make_shingles(two[1], 3))
        for one, two in combinations(told, 2)
        if one[0] != two[0]
    ]
    found = measure_self_similarity(
        corpus([row[1] for row in rows], [row[0] for row in rows]), seed=1
    )
    assert found.pairs == len(values)
    expected = pytest.approx(sum(values) / len(values)) if values else None
    assert found.mean == expected


ANSWERS = [
    answer("I'm sorry, but I can't help with that.", "p", 0),
    answer("As an AI, I have no oven.", "p", 1),
    answer("Knead it well, my dear!", "q", 0),
    answer("Knead it well and wait", "q", 1, truncated=True),
    answer("…", "r", 0),
]


def measure(answers: list[Answer]) -> dict[str, Measure]:
    evidence = Evidence(("tuned",), (), (), {"tuned": answers}, {}, ())
    return {found.name: found for found in measure_models(evidence, seed=1)}


def test_the_style_of_some_answers() -> None:
    found = measure(ANSWERS)
    assert (found["distinct_1"].rows, found["distinct_1"].missing) == (4, 1)
    assert found["words"].mean == (10 + 7 + 5 + 5) / 4  # "I'm" and "can't" are two words each
    assert (found["words"].rows, found["words"].missing) == (4, 1)
    assert found["opening_share"].mean == 0.5
    assert found["refusals"].mean == 0.2
    assert found["ai_admissions"].mean == 0.2
    assert found["stops"].mean == 0.8
    assert found["stops"].clusters == 3
    assert found["distinct_1"].mean is not None
    assert found["distinct_1"].mean < 1


@settings(max_examples=100, deadline=None)
@given(st.lists(texts(), max_size=5))
def test_answers_measured_together_have_the_values_that_each_has_alone(said: list[str]) -> None:
    rows = [answer(text, number=number) for number, text in enumerate(said)]
    together = [
        kind
        for kind in MEASURES.values()
        if isinstance(kind, AnswerMeasure) and kind.score_all is not None
    ]
    assert {kind.name for kind in together} == {"words", "loops", "refusals", "ai_admissions"}
    for kind in together:
        assert kind.score_all is not None
        assert list(kind.score_all(rows, TextBatch(said))) == list(map(kind.score, rows))


def test_an_answer_that_goes_round_in_circles_is_counted() -> None:
    loop = answer("I love to play games. " * 12, "p", 7)
    assert measure([*ANSWERS, loop])["loops"].mean == pytest.approx(1 / 6)
    assert measure(ANSWERS)["loops"].mean == 0.0


def test_the_order_of_answers_changes_nothing() -> None:
    many = [answer(f"{row.answer} {n % 7}", f"p{n % 9}", n) for n, row in enumerate(ANSWERS * 20)]
    mixed = random.Random(1).sample(many, len(many))
    assert measure(mixed) == measure(many)


def test_no_answers_have_no_style() -> None:
    found = measure([])
    assert all(found[name].mean is None for name in ("distinct_1", "words", "self_similarity"))
    assert found["refusals"].mean is None


def test_every_measure_is_called_by_one_name_and_stands_in_one_place() -> None:
    kinds = list(MEASURES.values())
    assert len({kind.label for kind in kinds}) == len(kinds)
    assert len({kind.place for kind in kinds}) == len(kinds)
    assert find_measure_kind("of another version").label == "of another version"
