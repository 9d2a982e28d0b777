"""Recognises answers that repeat what they were given: question, profile, prompt or source."""

from __future__ import annotations

import re

from infra.text.wording import make_shingles, measure_jaccard, shorten, split_words

_HEADER = re.compile(
    r"^[\s#*_>]*(?:persona description|character specification|character profile|user's query)"
    r"[\s*_]*:?[\s*_]*$",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = re.compile(
    r"^[\s#*_>-]*(name|age|gender|race|birth place|appearance|general experience|personality)"
    r"[*_]*:",
    re.IGNORECASE | re.MULTILINE,
)
_FIELDS_OF_A_PROFILE = 4
_QUESTION_SHARE = 0.8
_QUESTION_WORDS = 4
_COPY_WORDS = 4
_SHINGLE = 3


def find_question_echo(answer_words: list[str], question: str) -> str | None:
    """Return the question if the answer is little else: at least 80 % of its words."""
    words = split_words(question)
    if len(words) < _QUESTION_WORDS or len(words) < _QUESTION_SHARE * len(answer_words):
        return None
    inside = f" {' '.join(words)} " in f" {' '.join(answer_words)} "
    return shorten(question) if inside else None


def find_profile_echo(answer_words: list[str], given: list[str], run: int) -> str | None:
    """Return ``run`` words in a row that the answer shares with persona and profile, or ``None``.

    Any such run covers a whole aligned block of half its length, so that probing the blocks
    finds every one; only a block that hits is looked at closely.
    """
    block = (run + 1) // 2
    text = f" {' '.join(answer_words)} "
    for start in range(0, len(given) - block + 1, block):
        if f" {' '.join(given[start : start + block])} " not in text:
            continue
        for first in range(max(0, start - run + block), min(start, len(given) - run) + 1):
            phrase = " ".join(given[first : first + run])
            if f" {phrase} " in text:
                return phrase
    return None


def find_prompt_echo(answer: str) -> str | None:
    """Return a heading of our prompts, or a profile's field list, found in an answer."""
    header = _HEADER.search(answer)
    if header:
        return header.group().strip()
    fields = {found.group(1).lower() for found in _FIELD.finditer(answer)}
    return ", ".join(sorted(fields)) if len(fields) >= _FIELDS_OF_A_PROFILE else None


def find_source_copy(
    answers: tuple[str, ...], sources: tuple[str, ...], similarity: float
) -> str | None:
    """Return the rewritten answer that is its source again, or ``None``.

    One copied turn spoils a dialogue, but a turn of a few words ("You're welcome!") has no other
    form: it counts only if every turn is a copy.
    """
    copies = [
        _is_copy(split_words(answer), split_words(source), similarity)
        for answer, source in zip(answers, sources, strict=False)
    ]
    for answer, copy in zip(answers, copies, strict=False):
        if copy and (all(copies) or len(split_words(answer)) >= _COPY_WORDS):
            return shorten(answer)
    return None


def _is_copy(answer: list[str], source: list[str], similarity: float) -> bool:
    if answer == source:
        return bool(answer)
    if min(len(answer), len(source)) < similarity * max(len(answer), len(source)):
        return False
    one, other = make_shingles(answer, _SHINGLE), make_shingles(source, _SHINGLE)
    return measure_jaccard(one, other) >= similarity
