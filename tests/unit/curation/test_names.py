"""Proves that speaking under another character's name is found, and talk about others is not."""

import pytest

from tasks.curation.names import find_other_name, make_roster

ROSTER = make_roster(["Ada Vance", "Dr. Bob M. Stone", "Grace Lee", "Christian"])


def find(answer: str, *, known: str = "A baker", mentions: bool = False) -> str | None:
    return find_other_name(answer, "Ada Vance", known, ROSTER, mentions=mentions)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm Bob Stone, a baker.",
        "I am Dr. Bob M. Stone.",
        "Bob Stone here!",
        "**Bob Stone**: hello",
        "As Bob Stone, I think of bread.",
        "All is well.\nYours,\nGrace Lee",
        "All is well.\n\u2014 Grace Lee",
        "Hello, my name is Harry.",
    ],
)
def test_speaking_under_another_name_is_found(answer: str) -> None:
    assert find(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm Ada Vance, and this is my bakery.",
        "My name is Ada.",
        "I'm Christian and proud of it.",
        "I'm Bob Stone's wife.",
        "As Bob Stone once said, bread is life.",
        "My friend Grace Lee taught me.",
        '"My name is Harry," the parrot said.',
    ],
)
def test_talk_about_others_is_in_character(answer: str) -> None:
    assert find(answer) is None


def test_a_name_given_by_the_question_may_be_used() -> None:
    assert find("Grace Lee: Hello!", known="Write a scene with Grace Lee") is None


def test_mentions_count_when_asked_for() -> None:
    assert find("My friend Grace Lee taught me.", mentions=True) == "Grace Lee"
