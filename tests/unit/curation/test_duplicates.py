"""Proves which of several equal or similar answers stays."""

from tasks.curation.duplicates import Duplicate, find_duplicates

LONG = "The secret of good bread is time, cold water, and an oven that is hotter than you dare."


def find(
    questions: list[str], answers: list[str], similarity: float | None = 0.85
) -> list[Duplicate | None]:
    return find_duplicates(
        questions, answers, exact=True, similarity=similarity, min_words=5, seed=0
    )


def test_the_first_of_equal_answers_stays() -> None:
    assert find(["a", "b", "c"], [LONG, LONG.upper() + "!", "Quite another long answer here"]) == [
        None,
        Duplicate(0, exact=True),
        None,
    ]


def test_near_twins_are_found_and_can_be_allowed() -> None:
    answers = [LONG, LONG.replace("dare", "think")]
    assert find(["a", "a"], answers) == [None, Duplicate(0, exact=False)]
    assert find(["a", "a"], answers, similarity=None) == [None, None]


def test_short_answers_are_twins_only_for_one_question() -> None:
    assert find(["a", "b", "a"], ["Yes.", "Yes.", "yes"]) == [
        None,
        None,
        Duplicate(0, exact=True),
    ]


def test_an_answer_as_long_as_asked_for_is_a_twin_for_any_question() -> None:
    assert find(["a", "b"], ["Yes, with time and water."] * 2) == [None, Duplicate(0, exact=True)]
    assert find(["a", "b"], ["Yes, with time."] * 2) == [None, None]
