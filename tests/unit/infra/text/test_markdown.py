"""Proves that text in a card can never become markup."""

import pytest

from infra.text.markdown import escape_markdown


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a | b", "`code`", "**bold** _it_", "[x](y)", "\\", "~~"]
)
def test_markup_characters_are_written_as_references(text: str) -> None:
    escaped = escape_markdown(text).replace("&#", "")
    assert not set("<>|`*_[]\\~") & set(escaped)


@pytest.mark.parametrize("text", ["- item", "# head", "1. item", "+ x", "=== "])
def test_nothing_opens_a_block(text: str) -> None:
    assert not escape_markdown(text).startswith(text.split()[0])


def test_line_breaks_stay_inside_a_table_cell() -> None:
    assert escape_markdown("a\r\nb\u2028c\n\nd") == "a<br>b<br>c<br><br>d"


def test_bidirectional_overrides_cannot_reorder_the_card() -> None:
    assert escape_markdown("a\u202eb\x00") == "a\ufffdb\ufffd"
    assert escape_markdown("\u05e9\u05dc\u05d5\u05dd") == "\u05e9\u05dc\u05d5\u05dd"
