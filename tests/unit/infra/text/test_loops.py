"""Proves that loops are told from rhetoric, verse, lists, code and tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.loops import find_loop

SONG = """Heave away, my bonny crew,
Heave away, away!
The tide is in, the wind is true,
Heave away, away!
We'll drink the health of me and you,
Heave away, away!
Then heave away, heave away, heave away, heave away,
Heave away, away!"""


@pytest.mark.parametrize(
    "text",
    [
        "Nets are my trade.Nets are my trade.",
        "Nets are my trade. Nets are my trade.",
        "The harbour is cold, and " + "cold " * 12,
        "I mend the nets at dawn, I mend the nets at dawn, I mend the nets at dawn, and rest.",
        "\n".join(f"{number}. Always mend the nets first." for number in range(1, 7)),
        "Ich flicke jeden Tag die Netze. " * 3,
        "我每天补网。" * 3,
        "ฉันซ่อมแหทุกวัน" * 4,
        "netnetnetnetnetnetnetnetnetnet",
        "What a day" + "!" * 40,
        "The sea is my only home here. Gulls. The sea is my only home here. Rain. Wind. "
        "The sea is my only home here. Fog. The sea is my only home here. Ice. "
        "The sea is my only home here.",
    ],
)
def test_a_loop_is_found(text: str) -> None:
    assert find_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no! Ha ha ha ha, you would drown, my friend.",
        "It was cold. It was very, very cold, and the nets were stiff.",
        SONG,
        "```python\n" + "row()\n" * 12 + "```",
        "row()\nrow()\nrow()\nrow()\nrow()\nrow()\nrow()",
        "<li>net</li>\n" * 8,
        "| day | tide |\n|---|---|\n" + "| Monday | high |\n" * 8,
        "0 1 0 1 0 1 0 1 0 1 0 1 0 1",
        "- Mend the nets\n- Mend the sails\n- Mend the oars\n- Mend the pots",
        "慢慢来\uff0c慢慢来。海很大\uff0c船很小\uff0c我们不着急。",
    ],
)
def test_what_only_looks_like_a_loop_is_none(text: str) -> None:
    assert find_loop(text) is None


OTHER = (
    "While gulls cry over grey water beyond our pier an old boatman from another village tells his "
    "youngest grandson about storms which once drowned whole fleets near that far cape "
)
VERSE = "The gulls are grey,\nThe sea is wide,\nMy father's boat\nWent out with the tide,\n"


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
        ("慢", 8),
        ("慢来", 8),
        ("慢来慢走", 5),
        ("ชแหม", 8),
    ],
)
def test_the_longer_what_is_repeated_the_fewer_copies_are_a_loop(unit: str, copies: int) -> None:
    assert find_loop(OTHER + unit * copies)
    assert find_loop(OTHER + unit * (copies - 1)) is None


@pytest.mark.parametrize(
    ("unit", "copies"),
    [("roll, ", 12), ("heave away, ", 10), ("heave away my hearts, ", 6)],
)
def test_verse_may_repeat_more(unit: str, copies: int) -> None:
    assert find_loop(VERSE + unit * copies)
    assert find_loop(VERSE + unit * (copies - 1)) is None


@pytest.mark.parametrize(
    ("unit", "copies"), [("stern ", 4), ("慢", 5), ("quite stern ", 3), ("a man of few words ", 2)]
)
def test_a_field_may_repeat_less(unit: str, copies: int) -> None:
    assert find_loop(OTHER + unit * copies, field=True)
    assert find_loop(OTHER + unit * (copies - 1), field=True) is None


@pytest.mark.parametrize(
    ("loop", "others"),
    [("mend nets " * 3, 2), ("she mends nets all day long " * 2, 4)],
)
def test_few_copies_are_a_loop_where_they_are_three_quarters_of_a_text(
    loop: str, others: int
) -> None:
    words = OTHER.split()
    assert find_loop(" ".join([*words[:others], loop]))
    assert find_loop(" ".join([*words[: others + 1], loop])) is None


def test_one_word_is_a_loop_where_a_long_one_repeats_itself_four_times() -> None:
    assert find_loop("netter" * 4 + "n")
    assert find_loop("netter" * 4) is None
    assert find_loop("nethauler" * 3) is None
    assert find_loop("1" * 30) is None


REFRAINS = ("I mend the nets", "The sea is wide", "My boat is old")


def test_sentences_that_come_back_are_a_loop_where_half_of_six_did() -> None:
    said = [REFRAINS[place] for place in (0, 1, 2, 1, 0, 2)]
    assert find_loop(". ".join(said))
    assert find_loop(". ".join(said[:-1])) is None
    assert find_loop(". ".join([*said[:-1], "Gulls cry all day"])) is None


@pytest.mark.parametrize(
    "lines", [(0, 1, 0, 1, 1, 0, 1, 0, 1, 0), (0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 0, 2)]
)
def test_verse_is_a_loop_where_three_quarters_of_ten_lines_or_more_came_back(
    lines: tuple[int, ...],
) -> None:
    verse = [REFRAINS[line] for line in lines]
    assert find_loop("\n".join(verse))
    assert find_loop("\n".join(verse[:-1])) is None


LONG_LINES = [
    "I bought them for twelve crowns each at Saint Olaf market in another bay last summer",
    "Nobody could ever explain to me why such small things would cost people so much money",
    "Still one must pay what sellers ask or else come home again with two empty hands",
]


@pytest.mark.parametrize("others", [["- a net", "- an oar", "- a sail"], LONG_LINES])
def test_text_is_no_verse_where_half_its_lines_are_items_or_long(others: list[str]) -> None:
    lines = ["heave away, " * 5, *VERSE.split("\n")]
    assert find_loop("\n".join([*lines[:4], *others[:2]])) is None
    assert find_loop("\n".join([*lines[:3], *others]))


def test_a_sentence_glued_to_itself_is_a_loop() -> None:
    """Of three words and eight characters or more, wherever it stands."""
    assert find_loop("I go up.I go up. " + OTHER)
    assert find_loop(f"{OTHER}. I go up.I go up.")
    assert find_loop("I go up. I go up. " + OTHER) is None
    assert find_loop("I go a.I go a. " + OTHER) is None
    assert find_loop("Nets sell.Nets sell. " + OTHER) is None


def test_text_that_differs_in_numbers_only_is_a_loop_where_it_is_long() -> None:
    said = [f"I mend net {number} at dawn and hang it up" for number in range(40)]
    assert find_loop(", ".join(said))
    assert find_loop(", ".join(said[:15])) is None


def test_a_value_of_a_form_may_repeat_less() -> None:
    value = "Stern, Fair, Fair, Fair, Fair"
    assert find_loop(value) is None
    assert find_loop(value, field=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("abcdefgh", min_size=2, max_size=8), min_size=5, max_size=30, unique=True))
def test_distinct_words_are_no_loop_and_five_copies_of_them_are(words: list[str]) -> None:
    sentence = " ".join(words).capitalize() + ". "
    assert find_loop(sentence) is None
    assert find_loop(sentence * 5)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    find_loop(text)
    find_loop(text, field=True)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(0, 150), st.integers(0, 150))
def test_a_passage_is_found_however_long_it_is_and_wherever_it_stands(
    words: int, before: int, after: int
) -> None:
    def write(begin: int, count: int) -> str:
        return " ".join(f"word{number}" for number in range(begin, begin + count))

    passage = write(1_000, words)
    text = " ".join([write(0, before), *[passage] * 8, write(500, after)])
    assert find_loop(text)
    assert find_loop(" ".join([write(0, before), passage, write(500, after)])) is None
