"""Finds answers that repeat another dialogue's answer, exactly or nearly.

Answers are compared over the whole run and by their text alone: one question has several answers
by design, and a rewritten and a generated answer to one pair repeat each other only if their texts
do. Very short answers ("negative", "Yes.") are right for many questions: they are compared together
with what was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from infra.store.fingerprints import hash_parts
from infra.text.batches.plain import fold_words
from infra.text.near_duplicates import find_near_duplicates
from infra.text.wording import split_words

_BLOCK_ROWS = 4_000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Pointer from a dialogue to the earlier, kept one whose answer it repeats."""

    kept: int
    exact: bool


def find_duplicates(
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    exact: bool,
    similarity: float | None,
    min_words: int,
    seed: int,
) -> list[Duplicate | None]:
    """Return what each dialogue repeats, or ``None``; the first in the order given stays.

    ``questions`` and ``answers`` are the user and the played turns of each dialogue, joined.
    """
    found: list[Duplicate | None] = [None] * len(answers)
    first: dict[str, int] = {}
    comparable: list[int] = []
    for index, (question, words) in enumerate(zip(questions, _fold(answers), strict=True)):
        short = words.count(" ") + bool(words) < min_words
        kept = first.setdefault(_name_text(question if short else "", words), index)
        if exact and kept != index:
            found[index] = Duplicate(kept, exact=True)
        elif not short:
            comparable.append(index)
    if similarity is None:
        return found
    texts = [answers[index] for index in comparable]
    near = find_near_duplicates(texts, threshold=similarity, seed=seed)
    for index, kept_at in zip(comparable, near, strict=True):
        if kept_at is not None:
            found[index] = Duplicate(comparable[kept_at], exact=False)
    return found


def _fold(texts: Sequence[str]) -> Iterator[str]:
    """Yield the words of each text, a blank between two."""
    for first in range(0, len(texts), _BLOCK_ROWS):
        yield from fold_words(pl.Series(texts[first : first + _BLOCK_ROWS], dtype=pl.String))


def _name_text(question: str, words: str) -> str:
    # A wordless answer never comes here: the filters call it empty.
    return hash_parts(" ".join(split_words(question)), words)
