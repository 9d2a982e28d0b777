"""Proves that cleaning takes only what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.text_cleaning import clean_text, strip_quotes


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
