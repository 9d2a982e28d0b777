"""Reduces text to comparable words: case, punctuation, width and spacing are folded away."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence, Set

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


def split_words(text: str) -> list[str]:
    """Return the words in order; Chinese and Japanese, written without spaces, by character."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


def make_shingles(words: Sequence[str], width: int) -> set[tuple[str, ...]]:
    """Return the distinct runs of ``width`` words; a shorter text is its own shingle."""
    if len(words) <= width:
        return {tuple(words)}
    return set(zip(*(words[start:] for start in range(width)), strict=False))


def measure_jaccard(one: Set[object], other: Set[object]) -> float:
    """Return the Jaccard similarity of two sets; two empty sets are equal."""
    shared = len(one & other)
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def shorten(text: str, limit: int = 200) -> str:
    """Cut a text to what a report or a reject reason has room for."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
