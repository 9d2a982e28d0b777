"""Tells plain texts, in which Rust's patterns and case rules are Python's own.

That is English and what else has few accents. What is not plain goes to the functions for one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import polars as pl

from infra.text.wording import split_words

_OTHER = (
    "[^\n -~\u00c0-\u00d6\u00d8-\u00de\u00e0-\u00f6\u00f8-\u00ff"
    "\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026]"
)
_ACCENTED = "\u00e0-\u00f6\u00f8-\u00ff"
_FEW_TEXTS = 30
"""Texts below which a frame takes longer than one after the other."""

_LETTERS = re.compile(r"[^\W\d_]+")


def is_plain(texts: pl.Expr) -> pl.Expr:
    """Tell of each text whether it is plain."""
    return ~texts.str.contains(_OTHER)


def fold_words(texts: pl.Series) -> pl.Series:
    """Return the words of each text as :func:`split_words` finds them, a blank between two."""
    return _fold(texts, f"[^a-z0-9_{_ACCENTED}]+", split_words)


def split_letters(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of letters alone of each text, in small letters."""
    if len(texts) < _FEW_TEXTS:
        return list(map(_split_letters, texts))
    folded = _fold(pl.Series(texts, dtype=pl.String), f"[^a-z{_ACCENTED}]+", _split_letters)
    return [words.split() for words in folded]


def _split_letters(text: str) -> list[str]:
    return _LETTERS.findall(text.lower())


def _fold(texts: pl.Series, between: str, split: Callable[[str], list[str]]) -> pl.Series:
    """Return the words of each text, which in plain ones stand between matches of a pattern."""
    column = pl.col("text")
    folded = column.str.to_lowercase().str.replace_all(between, " ").str.strip_chars(" ")
    found = pl.select(text=texts).select(plain=is_plain(column), folded=folded)
    if found["plain"].all():
        return found["folded"]
    rows = zip(texts, found["plain"], found["folded"], strict=True)
    return pl.Series(
        [words if plain else " ".join(split(text)) for text, plain, words in rows],
        dtype=pl.String,
    )


def count_words(folded: pl.Series) -> pl.Series:
    """Return how many words each folded text has."""
    blanks = folded.str.count_matches(" ", literal=True)
    return (folded != "").cast(pl.UInt32) + blanks
