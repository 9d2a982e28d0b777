"""Recognises answers that speak under another character's name.

A wrong name is only certain where the speaker names itself. A full name of another character of
the run counts when it stands where a speaker stands ("I'm Ada Vance", "Ada Vance here",
"Ada Vance: …", a signature); a name nobody of the run bears counts after "my name is". Single
given names are no evidence after "I'm": "I'm Christian" and "I'm Grace's father" are in character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.text.batches.screening import TextBatch
from infra.text.wording import split_words

_TITLES = frozenset(
    (
        "dr", "mr", "mrs", "ms", "miss", "prof", "professor", "sir", "dame", "lady", "lord",
        "captain", "capt", "father", "sister", "brother", "rev", "judge", "chef", "coach",
        "jr", "sr", "ii", "iii", "phd", "md",
    )
)  # fmt: skip
_RUN = (
    r"[^\W\d_a-z][\w'\u2019-]*\.?(?:[ \u00a0](?:(?:de|del|della|da|di|van|von|der|al|bin|el|la) )*"
    r"[^\W\d_a-z][\w'\u2019-]*\.?)+"
)
_BEFORE = re.compile(
    r"(?:\b(?:[Ii] am|[Ii]['\u2019]m|[Nn]ame is|[Nn]ame['\u2019]s|[Aa]s|[Tt]his is|[Cc]all me)"
    r"|(?:^|\n)[ \t]*[-\u2013\u2014~][ \t]*|(?:^|\n)[ \t>*\"(\[]*"
    r"|\n[^\n]{0,40}(?:[Yy]ours|[Rr]egards|[Ss]incerely|[Ll]ove|[Cc]heers),?\s*)\s*[*_\"]*"
    r"(?:(?:Dr|Mr|Mrs|Ms|Prof|Professor|Sir|Dame|Captain|Chef)\.? )?$"
)
_AFTER = re.compile(r"[*_\"]*(?:\s*:(?!\w)|[,]?\s+here\b)")
_ALONE = re.compile(r"[ \t*_\")\]]*(?:\n|$)")
_POSSESSIVE = re.compile(r"['\u2019]s\b")
_AS_SPEAKER = re.compile(r"[*_\"]*\s*,\s*(?:I|my)\b")
_MY_NAME = re.compile(
    r"\b[Mm]y name(?: is|['\u2019]s) "
    r"(?P<name>[^\W\d_a-z][\w'\u2019-]+(?: [^\W\d_a-z][\w'\u2019-]+)?)"
)
_MY_NAME_SIGN = "[Mm]y name"
_HEAD_CHARS = 400
"""Speakers introduce themselves early; a script they write for somebody else comes later."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Full names of a run's characters, folded, each of two words at least."""

    names: frozenset[tuple[str, ...]]
    longest: int


def make_roster(names: Iterable[str]) -> Roster:
    """Collect full names, also without titles and middle names."""
    folded: set[tuple[str, ...]] = set()
    for name in set(names):
        words = _fold_name(name)
        if len(words) >= 2:
            folded.add(words)
            folded.add((words[0], words[-1]))
    return Roster(frozenset(folded), max(map(len, folded), default=0))


def find_other_name(
    answer: str, own_name: str, known_text: str, roster: Roster, *, mentions: bool
) -> str | None:
    """Return the other name an answer speaks under, or ``None``.

    ``known_text`` is everything the speaker may quote names from: question, persona, profile.
    With ``mentions`` any full name of the roster counts, wherever it stands.
    """
    own = set(split_words(own_name)) - _TITLES
    for name, start, end in _find_roster_names(answer, roster):
        spoken = mentions or _names_speaker(answer, start, end)
        if spoken and split_words(name)[0] not in own and not _knows(known_text, name):
            return name
    if not own:
        return None  # a profile that was brought need not name anybody
    for found in _MY_NAME.finditer(answer, 0, _HEAD_CHARS):
        name = found["name"]
        quoted = answer.count('"', 0, found.start()) % 2 or "\u201c" in answer[: found.start()]
        if not quoted and not _resembles(name, own) and not _knows(known_text, name):
            return found[0]
    return None


def may_bear_other_name(answers: TextBatch, roster: Roster) -> npt.NDArray[np.bool_]:
    """Tell of which answers :func:`find_other_name` may find a name, of the roster or another."""
    runs = answers.find_all(_RUN)
    known = runs.explode().drop_nulls().unique()
    named = [run for run in known if any(_find_roster_names(run, roster))]
    listed = runs.list.eval(pl.element().is_in(named)).list.any().fill_null(value=True)
    return listed.to_numpy() | answers.search(_MY_NAME_SIGN)


def _find_roster_names(answer: str, roster: Roster) -> Iterator[tuple[str, int, int]]:
    for run in re.finditer(_RUN, answer):
        words = [
            (word.group().casefold(), run.start() + word.start(), run.start() + word.end())
            for word in re.finditer(r"[^\W_]+", run.group())
        ]
        at = 0
        while at < len(words):
            for length in range(min(roster.longest, len(words) - at), 1, -1):
                if tuple(word for word, _, _ in words[at : at + length]) in roster.names:
                    start, end = words[at][1], words[at + length - 1][2]
                    yield answer[start:end], start, end
                    at += length - 1
                    break
            at += 1


def _names_speaker(answer: str, start: int, end: int) -> bool:
    before = _BEFORE.search(answer, max(0, start - 60), start)
    if before is None or _POSSESSIVE.match(answer, end):
        return False
    lead = before.group().strip(' \t\n>*"([_')
    if not lead:
        return _AFTER.match(answer, end) is not None
    if lead.lower() == "as":
        return _AS_SPEAKER.match(answer, end) is not None
    return lead[0] not in "-\u2013\u2014~" or _ALONE.match(answer, end) is not None


def _fold_name(name: str) -> tuple[str, ...]:
    words = re.sub(r"\(.*?\)|\".*?\"", " ", name)
    return tuple(w for w in re.findall(r"[^\W_]+", words.casefold()) if w not in _TITLES)


def _resembles(name: str, own: set[str]) -> bool:
    words = set(split_words(name)) - _TITLES
    return not own or not words or any(w in o or o in w for w in words for o in own)


def _knows(text: str, name: str) -> bool:
    return name.casefold() in text.casefold()
