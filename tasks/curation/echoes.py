"""Recognises answers that repeat what they were given: question, profile, prompt or source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

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
SIGNS = (
    r"(?i)persona description|character specification|character profile|user's query"
    r"|(?:name|age|gender|race|birth place|appearance|general experience|personality)[*_]*:"
)
"""One of these is in every plain answer in which :func:`find_prompt_echo` finds anything."""

_FIELDS_OF_A_PROFILE = 4
_QUESTION_SHARE = 0.8
_QUESTION_WORDS = 4
_COPY_WORDS = 4
_SHINGLE = 3


@dataclass(frozen=True, slots=True)
class Given:
    """Words of persona and profile, a blank around each, cut into blocks to look for in answers.

    Attributes:
        run: Words in a row that an answer may not share.
        cuts: Places of the blanks between blocks of half that many words.
    """

    words: str
    run: int
    cuts: tuple[int, ...]

    @classmethod
    def prepare(cls, words: str, run: int) -> Given:
        """Cut words, which have a blank between two."""
        # The first blank, and that behind each word.
        blanks = list(accumulate((len(word) + 1 for word in words.split(" ")), initial=0))
        return cls(f" {words} ", run, tuple(blanks[:: _count_block(run)]))


def find_question_echo(answer: str, question: str) -> str | None:
    """Return the question if the answer is little else: at least 80 % of its words.

    The answer's words are given with a blank between two.
    """
    least = max(_QUESTION_WORDS, _QUESTION_SHARE * (answer.count(" ") + bool(answer)))
    if question.isascii() and len(question) + 1 < 2 * least:
        return None  # a word takes a letter and a blank
    words = split_words(question)
    inside = len(words) >= least and f" {' '.join(words)} " in f" {answer} "
    return shorten(question) if inside else None


def find_profile_echo(answer: str, given: Given) -> str | None:
    """Return words in a row that the answer shares with persona and profile, or ``None``.

    Any such run covers a whole aligned block of half its length, so that probing the blocks
    finds every one; only a block that hits is looked at closely. The answer's words are given
    with a blank between two.
    """
    text = f" {answer} "
    for number, (start, end) in enumerate(pairwise(given.cuts)):
        if given.words[start : end + 1] in text and (phrase := _find_run(text, given, number)):
            return phrase
    return None


def _find_run(text: str, given: Given, number: int) -> str | None:
    """Return the first run around a block that a text shares."""
    words, run, block = given.words.split(), given.run, _count_block(given.run)
    start = number * block
    for first in range(max(0, start - run + block), min(start, len(words) - run) + 1):
        phrase = " ".join(words[first : first + run])
        if f" {phrase} " in text:
            return phrase
    return None


def _count_block(run: int) -> int:
    return (run + 1) // 2


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
