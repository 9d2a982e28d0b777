"""Proves that cleaning takes only what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.protocol import Message
from infra.text.text_cleaning import (
    DeltaCleaner,
    clean_text,
    is_encodable,
    remove_unreadable,
    strip_quotes,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("\ufeffa\x00\x1b\ud800\U0001fffe\ufdd0b", "ab"),
        ("e\u0301", "é"),
        ("\tkept\tinside\t", "kept\tinside"),
        ("\u202eabc\u202c \u0644\u200d", "\u202eabc\u202c \u0644\u200d"),
        ("👩\u200d🚀 {{ }} {% %} <|eot_id|>", "👩\u200d🚀 {{ }} {% %} <|eot_id|>"),
    ],
)
def test_only_what_cannot_be_read_goes(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(st.characters(codec=None)))
def test_clean_text_is_stable_and_can_be_stored(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    clean.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('"a"', "a"),
        ("'\"a\"'", "a"),
        ('"a" and "b"', '"a" and "b"'),
        ("it's", "it's"),
        ('"', '"'),
        ("«a»", "a"),
    ],
)
def test_quotes_go_if_they_enclose_all(text: str, bare: str) -> None:
    assert strip_quotes(text) == bare


@given(st.text(st.characters(codec=None)))
def test_what_engines_say_can_be_stored_and_keeps_its_whitespace(text: str) -> None:
    kept = remove_unreadable(text)
    kept.encode("utf-8")
    assert remove_unreadable(kept) == kept
    assert clean_text(kept) == clean_text(remove_unreadable(kept))


def test_half_characters_are_joined_or_shown_as_broken() -> None:
    cleaned = remove_unreadable("a\ud83d\ude00b \ud83d c\x00\u2028 \n")
    assert cleaned == "a\U0001f600b \ufffd c\u2028 \n"
    cleaner = DeltaCleaner()
    heard = [cleaner.clean(delta) for delta in ("x\ud83d", "", "\ude00y", "\ud83d")]
    assert "".join([*heard, cleaner.clean("", last=True)]) == "x\U0001f600y\ufffd"


def test_text_that_no_file_can_hold_is_found_at_any_depth() -> None:
    assert is_encodable({"a": ["b", {"c": ("d", 1, None)}], "e": "é"})
    assert not is_encodable({"a": [{"b": ("c", "d\ud800")}]})


def test_texts_of_records_are_seen_at_any_depth() -> None:
    whole, half = Message("user", "Hi"), Message("user", "d\ud800")
    assert is_encodable(whole)
    assert not is_encodable(half) and not is_encodable([{"a": (whole, half)}])


def test_terminal_codes_go_whole() -> None:
    assert (
        remove_unreadable("red \x1b[31mtext\x1b[0m, \x1b]0;title\x07done [1]")
        == "red text, done [1]"
    )
