"""Checks that a judge is shown its own examples as answers, and that their order is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from tasks.evaluation.config import JudgeConfig
from tasks.evaluation.judging.anchors import (
    choose_anchors,
    list_replies,
    measure_order,
    name_replies,
)
from tasks.evaluation.planning import plan_judgements
from tasks.records import EvalQuestion, Judgement, ScoreExamples

QUESTIONS = [
    EvalQuestion(f"q{n}", "generated", f"p{n}", f"Person {n}.", "expected_action", f"Why {n}?", "")
    for n in range(6)
]
EXAMPLES = [
    ScoreExamples(f"e{n}", f"q{n}", "expected_action", "judge", tuple(f"{n} {s}" for s in range(5)))
    for n in range(6)
]


def judge(examples: ScoreExamples, *scores: float | None) -> list[Judgement]:
    return [
        Judgement(f"j{key}", key, examples.question_key, "p", "expected_action", "anchors", "judge",
                  score, "")
        for key, score in zip(name_replies(examples), scores, strict=True)
    ]  # fmt: skip


def test_replies_are_shown_as_answers_without_a_word_of_their_scores() -> None:
    found = list(list_replies(EXAMPLES[:2], QUESTIONS))
    assert [item.answer for item in found] == [*EXAMPLES[0].examples, *EXAMPLES[1].examples]
    assert {(item.question, item.persona) for item in found[:5]} == {("Why 0?", "Person 0.")}
    assert len({item.key for item in found}) == 10
    planned = plan_judgements("recipe", found)
    assert planned["examples"].list.len().sum() == 0
    assert planned["key"].n_unique() == 10


def test_replies_to_no_question_are_left_out() -> None:
    assert list(list_replies(EXAMPLES, QUESTIONS[:1])) == list(
        list_replies(EXAMPLES[:1], QUESTIONS)
    )


def test_more_questions_keep_those_that_fewer_had() -> None:
    few, many = choose_anchors(EXAMPLES, 2), choose_anchors(EXAMPLES[::-1], 4)
    assert len(few) == 2 and many[:2] == few
    assert len(choose_anchors(EXAMPLES, 99)) == 6


@pytest.mark.parametrize(
    ("scores", "pairs", "missing", "ordered"),
    [
        ((1, 2, 3, 4, 5), 10, 0, 1.0),
        ((5, 4, 3, 2, 1), 10, 0, 0.0),
        ((3, 3, 3, 3, 3), 10, 0, 0.5),
        ((2, 1, 3, 4, 5), 10, 0, 0.9),
        ((1, None, 3, 3, 5), 6, 4, 5.5 / 6),
        ((None, None, None, None, None), 0, 10, None),
    ],
)
def test_pairs_in_order_are_counted_and_ties_are_half(
    scores: tuple[float | None, ...], pairs: int, missing: int, ordered: float | None
) -> None:
    found = measure_order("judge", EXAMPLES, judge(EXAMPLES[0], *scores))
    assert (found.questions, found.pairs, found.missing) == (1, pairs, missing)
    assert found.ordered == (None if ordered is None else pytest.approx(ordered))


def test_only_replies_to_one_question_are_compared() -> None:
    rows = [*judge(EXAMPLES[0], 1, 1, 1, 1, 2), *judge(EXAMPLES[1], 4, 4, 4, 4, 5)]
    found = measure_order("judge", EXAMPLES, rows)
    assert (found.questions, found.pairs) == (2, 20)
    assert found.ordered == pytest.approx((4 + 6 / 2) / 10)
    strangers = [replace(row, answer_key=f"x{row.answer_key}") for row in rows]
    assert measure_order("judge", EXAMPLES, strangers).questions == 0


def test_without_examples_there_is_nothing_to_check() -> None:
    with pytest.raises(ValidationError, match="no example replies to show"):
        JudgeConfig.model_validate({"check_examples": 5, "examples": None})
