"""Proves that a batch sees loops from the same number of copies on as one text's reader does."""

from __future__ import annotations

import pytest

from infra.text.batches.screening import TextBatch
from infra.text.loops import find_loop

OTHER = (
    "While gulls cry over grey water beyond our pier an old boatman from another village tells his "
    "youngest grandson about storms which once drowned whole fleets near that far cape "
)
SENTENCES = [" ".join(f"word{number}{letter}" for letter in "abcdef") for number in range(24)]


def find(*texts: str) -> list[bool]:
    """Find loops in texts together, which has to be what is found in each."""
    found = TextBatch(texts).find_loops()
    assert found == [find_loop(text) is not None for text in texts]
    return found


@pytest.mark.parametrize(
    ("unit", "copies"),
    [
        ("cold ", 8),
        ("ha ", 16),
        ("7 ", 40),
        ("very cold ", 5),
        ("mend every net ", 5),
        ("mend every torn net ", 3),
        ("chi mends every torn net of my own poor father before he lets me sleep ", 2),
        (" ".join(f"word{number}" for number in range(240)) + " ", 2),
    ],
)
def test_units_are_a_loop_from_as_many_copies_on(unit: str, copies: int) -> None:
    assert find(OTHER + unit * copies, OTHER + unit * (copies - 1)) == [True, False]


def test_few_copies_are_a_loop_where_they_are_three_quarters_of_a_text() -> None:
    words, loop = OTHER.split(), "mend nets " * 3
    assert find(" ".join([*words[:2], loop]), " ".join([*words[:3], loop])) == [True, False]


def test_a_sentence_that_comes_back_five_times_is_a_loop_however_far_apart() -> None:
    def write(*places: int) -> str:
        said = list(SENTENCES)
        for place in places:
            said.insert(place, "The sea is my only home")
        return ". ".join(said)

    assert find(write(0, 2, 8, 18, 22), write(0, 2, 8, 18)) == [True, False]


def test_half_of_six_sentences_that_came_back_are_a_loop() -> None:
    one, two, three = SENTENCES[:3]
    assert find(". ".join([one, two, three, two, one, three])) == [True]
    assert find(". ".join([one, two, three, two, one])) == [False]


def test_items_of_a_list_are_compared_without_their_numbers() -> None:
    items = [f"{letter}) Mend nets" for letter in "abcdef"]
    assert find("\n".join(items), ", ".join(items)) == [True, False]


def test_texts_beside_a_loop_are_none() -> None:
    """What comes again is sought in each text alone, also where texts are the same."""
    said = f"{OTHER}. {SENTENCES[0]}"
    assert find(said, said, OTHER + "cold " * 8, said, said, "", said) == [
        False, False, True, False, False, False, False,
    ]  # fmt: skip
