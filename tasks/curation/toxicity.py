"""Finds listed words and phrases in answers, as whole words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.text.wording import split_words


@dataclass(frozen=True, slots=True)
class WordList:
    """Folded list of words and phrases; a phrase is a run of words."""

    entries: frozenset[str]
    lengths: tuple[int, ...]


def make_word_list(lines: Iterable[str]) -> WordList:
    """Fold the lines of a word list; blank lines hold nothing."""
    folded = [split_words(line) for line in lines]
    return WordList(
        frozenset(" ".join(words) for words in folded if words),
        tuple(sorted({len(words) for words in folded if words})),
    )


def find_toxic_word(text: str, words: WordList) -> str | None:
    """Return the first listed word or phrase in a text, or ``None``."""
    found = split_words(text)
    for length in words.lengths:
        for start in range(len(found) - length + 1):
            phrase = " ".join(found[start : start + length])
            if phrase in words.entries:
                return phrase
    return None
