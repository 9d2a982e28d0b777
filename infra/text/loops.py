"""Finds loops: words, phrases, sentences or passages that a model writes again and again.

A loop is told from rhetoric by how often something comes, how long it is, and how much of the
text it fills. Verse has refrains, laughter repeats itself, and what is no prose (code, tables) is
not looked at. Words are compared, so that "I cook.I cook." is seen as "I cook. I cook." is;
scripts without spaces are compared by character.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from operator import eq

import numpy as np
import numpy.typing as npt

from infra.text.prose import keep_prose
from infra.text.wording import shorten

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['\u2019][^\W{_UNSPACED}]+)?")
_ONE_BY_ONE = re.compile(rf"[{_UNSPACED}]")
MARKER = r"^\s*(?:[-*\u2022>#]+|\(?\d{1,3}[.):]|\(?[a-zA-Z][.)])\s+"
"""What an item of a list begins with, line by line."""

_MARKER = re.compile(MARKER, re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f\u0964\u061f\n]+")
_GLUE = re.compile(r"[.!?](?=[^\W\d_])")
_SAME_MARK = re.compile(
    # What it begins with is told first, which most letters of a text fail at once.
    r"(?=[^\w\s])(?:([^\w\s\-=_*~#.\u00b7\u2022\u2026\u2500-\u257f|+])\1{19,}|[.\u2026]{60,})"
)

_MOST_TOKENS = 4_000
_MOST_PERIOD = 240
_LONG_TOKEN = 25
_CALL = 3
"""Letters of a cry or a laugh: "ha ha ha", "no, no, no"."""

SQUEEZED = 7
"""How many times shorter a text of at least so many bytes is compressed, where it is a loop."""

SQUEEZED_BYTES = 600

SIGNS = r"[^\w\s]{20}|[\w'\u2019]{25}|[.!?][^\W\d_]"
"""One of these, or words that come again, is in every plain text with a loop."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """Numbers of copies from which on a unit of one, of a few, and of many words is a loop."""

    word: int
    phrase: int
    passage: int


_PROSE = _Limits(word=8, phrase=5, passage=3)
_VERSE = _Limits(word=12, phrase=10, passage=6)
_FIELD = _Limits(word=4, phrase=3, passage=2)


def find_loop(text: str, *, field: bool = False) -> str | None:
    """Return what a text repeats again and again, shortened, or ``None``.

    ``field`` says that the text is one value of a form, where far less repetition is a fault.
    """
    marks = _SAME_MARK.search(text)
    if marks is not None:
        return shorten(marks[0], 60)
    prose = text if field else keep_prose(text)
    folded = _MARKER.sub("", unicodedata.normalize("NFKC", prose)).casefold()
    sentences = list(map(_TOKEN.findall, _SENTENCE_END.split(folded)))
    tokens = list(chain.from_iterable(sentences))
    found = _find_stutter(tokens)
    if found is None and len(tokens) > 1 and _repeats_pairs(tokens):
        verse = not field and _is_verse(prose)
        limits = _FIELD if field else _VERSE if verse else _PROSE
        found = _find_run(tokens[-_MOST_TOKENS:], limits) or _find_return(sentences, verse)
        if found is None and not verse:
            found = _find_glued(prose) or _find_squeezed(folded)
    return None if found is None else shorten(found, 120)


def _find_stutter(tokens: Sequence[str]) -> str | None:
    """Find a repetition inside one word: "cookcookcook…", "aaaaaaa…"."""
    for token in tokens:
        if len(token) >= _LONG_TOKEN and not token.isdecimal():
            codes = np.frombuffer(token.encode("utf-32-le"), dtype=np.uint32)
            for period in range(1, min(len(codes) // 3, 40) + 1):
                length = _longest_run(codes, period)[0]
                if length + period >= max(_LONG_TOKEN, 4 * period):
                    return token
    return None


def _repeats_pairs(tokens: Sequence[str]) -> bool:
    """Tell whether pairs of words come again: without that, no loop is possible."""
    pairs = len(tokens) - 1
    return pairs - len(set(pairwise(tokens))) >= min(2, pairs - 1)


def _find_run(tokens: Sequence[str], limits: _Limits) -> str | None:
    codes: npt.NDArray[np.uint32] | None = None
    for period in _list_periods(tokens, min(len(tokens) // 2, _MOST_PERIOD)):
        codes = _number(tokens) if codes is None else codes
        length, start = _longest_run(codes, period)
        if length >= period:
            unit = tokens[start : start + period]
            copies = 1 + length // period
            share = (length + period) / len(tokens)
            if _is_loop(unit, copies, share, limits):
                return " ".join(unit)
    return None


def _number(tokens: Sequence[str]) -> npt.NDArray[np.uint32]:
    names = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return np.fromiter((names[token] for token in tokens), dtype=np.uint32, count=len(tokens))


def _list_periods(tokens: Sequence[str], most: int) -> Iterator[int]:
    """Yield after how many tokens a unit may come again at once, shortest first.

    A unit that does so has all its tokens again that far on; one of three or more has all its
    runs of three again, and of these few come twice in a text.
    """
    for period in range(1, min(most, 2) + 1):
        if sum(map(eq, tokens, tokens[period:])) >= period:
            yield period
    last: dict[tuple[str, ...], int] = {}
    earlier: dict[int, int] = {}
    distances: Counter[int] = Counter()
    for place, run in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        before = last.get(run)
        last[run] = place
        if before is None:
            continue
        earlier[place] = before
        while before is not None and place - before <= most:
            distances[place - before] += 1
            before = earlier.get(before)
    for period, shared in sorted(distances.items()):
        if period > 2 and shared >= period - 2:
            yield period


def _longest_run(codes: npt.NDArray[np.uint32], period: int) -> tuple[int, int]:
    """Return how long the codes equal those a period later at most, and where that begins."""
    different = np.flatnonzero(codes[period:] != codes[:-period])
    edges = np.concatenate(([-1], different, [len(codes) - period]))
    gaps = np.diff(edges) - 1
    best = int(gaps.argmax())
    return int(gaps[best]), int(edges[best]) + 1


def _is_loop(unit: Sequence[str], copies: int, share: float, limits: _Limits) -> bool:
    words = sum(map(_weigh, unit))
    if all(token.isdecimal() for token in unit):
        return copies >= 40
    if len(set(unit)) == 1 and len(unit[0]) <= _CALL and not _ONE_BY_ONE.match(unit[0]):
        return copies * len(unit) >= (limits.word if limits is _FIELD else 16)
    if words <= 1:
        return copies >= max(limits.word, 5 if words < 1 else 0)
    if words >= 2 and copies >= 3 and share >= 0.75 and limits is not _VERSE:
        return True
    if words < 4:
        return copies >= limits.phrase
    # Two copies in a row are a loop where they are long, or are all that is said.
    twice = limits is not _VERSE and (words >= 15 or share >= 0.75)
    return copies >= (2 if twice else limits.passage)


def _weigh(token: str) -> float:
    """Return how many words a token stands for."""
    if not _ONE_BY_ONE.match(token):
        return 1.0
    return 0.5 if token >= "\u3040" else 0.25


def _find_return(sentences: Iterable[Sequence[str]], verse: bool) -> str | None:
    """Find sentences that come back, not next to each other; of less than four words none does."""
    counts = Counter(
        " ".join(tokens)
        for tokens in sentences
        if any(words >= 4 for words in accumulate(map(_weigh, tokens)))
    )
    total = counts.total()
    if not total:
        return None
    unit, most = counts.most_common(1)[0]
    repeated = 1 - len(counts) / total
    if verse:
        return unit if total >= 10 and repeated >= 0.75 else None
    return unit if most >= 5 or (total >= 6 and repeated >= 0.5) else None


def _find_glued(prose: str) -> str | None:
    """Find a sentence said twice without a blank between, as no one writes."""
    for found in _GLUE.finditer(prose):
        begins = max(prose.rfind(mark, 0, found.start()) for mark in ".!?\n") + 1
        sentence = prose[begins : found.end()].lstrip()
        if len(sentence) >= 8 and " " in sentence and prose.startswith(sentence, found.end()):
            return sentence
    return None


def _find_squeezed(folded: str) -> str | None:
    """Find text so full of itself that almost nothing is left when it is compressed."""
    data = folded.encode("utf-8", "replace")
    if len(data) >= SQUEEZED_BYTES and len(data) > SQUEEZED * len(zlib.compress(data, 6)):
        return folded[:120]
    return None


def _is_verse(prose: str) -> bool:
    """Tell verse by its short lines; the items of a list are none."""
    lines = [line for line in prose.split("\n") if line.strip()]
    short = [line for line in lines if len(line.split()) <= 12 and len(line) <= 90]
    items = sum(_MARKER.match(line) is not None for line in lines)
    return len(lines) >= 4 and 3 * len(short) >= 2 * len(lines) and 2 * items < len(lines)
