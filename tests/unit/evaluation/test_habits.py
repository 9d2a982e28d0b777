"""Checks what is told of judges that say the same of everything, or cite nothing."""

from __future__ import annotations

import pytest

from infra.text.wording import split_words
from tasks.evaluation.judging.habits import list_habits, measure_habit
from tasks.records import Judgement
from tasks.scores import JudgeHabit

ANSWER = "Ah, by the oven of my mother, bread is brown because heat browns it!"


def judge(number: int, score: float | None, reason: str = "", who: str = "judge") -> Judgement:
    return Judgement(
        key=f"{who}{number}",
        answer_key=f"a{number}",
        question_key=f"q{number}",
        persona_key="p",
        task="expected_action",
        model="tuned",
        judge=who,
        score=score,
        justification=reason,
    )


def measure(*reasons: str, answer: str = ANSWER) -> JudgeHabit:
    rows = [judge(number, 3.0, reason) for number, reason in enumerate(reasons)]
    words = " ".join(split_words(answer))
    return measure_habit("judge", rows, {row.answer_key: words for row in rows})


def test_the_commonest_score_is_counted_among_those_given() -> None:
    rows = [judge(n, score) for n, score in enumerate([3.0] * 19 + [4.0] + [None] * 5)]
    (habit,) = list_habits(["judge", "mute"], [*rows, judge(0, None, who="mute")], {})
    assert (habit.judge, habit.rows, habit.commonest, habit.share) == ("judge", 20, 3.0, 0.95)


def test_judges_are_told_apart_and_come_in_their_order() -> None:
    rows = [judge(0, 5.0, who="b"), judge(0, 1.0, who="a"), judge(1, 1.0, who="a")]
    found = list(list_habits(["b", "a"], rows, {}))
    assert [(item.judge, item.commonest, item.rows) for item in found] == [
        ("b", 5.0, 1), ("a", 1.0, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "cites"),
    [
        ('It says "by the OVEN of, my mother", which is her own.', 1.0),
        ("The oven of her mother is heard.", 0.0),
        ("The oven.", 0.0),
        ("Heat browns it, fine.", 0.0),
    ],
)
def test_a_reason_cites_an_answer_by_four_words_in_a_row(reason: str, cites: float) -> None:
    assert measure(reason).citing == cites


def test_the_share_is_of_the_reasons_there_are() -> None:
    found = measure("Good.", "bread is brown because heat", "", "")
    assert (found.rows, found.reasons, found.citing) == (4, 2, 0.5)


def test_what_is_too_short_to_be_cited_is_no_reason_to_complain() -> None:
    found = measure("It is too short to say anything of.", answer="Heat browns it.")
    assert (found.reasons, found.citing) == (0, None)
