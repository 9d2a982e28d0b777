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
