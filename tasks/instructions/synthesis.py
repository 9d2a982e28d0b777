"""Reads the teacher's guesses of what a persona would ask, and chooses whom to guess for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from infra.errors import Reject
from infra.store.fingerprints import hash_parts
from infra.text.text_cleaning import clean_text, strip_quotes

_MIN_CHARS = 10
_SHOWN_CHARS = 200
_PREFIX = re.compile(r"[\s*_#>\"'`\u201c\u2018]*user[\s_]+prompt[\s*_]*:[\s*_]*", re.IGNORECASE)


def parse_guess(text: str) -> str | Reject:
    """Return the prompt that a completion guesses, without "User prompt:", quotes and bold.

    The reasons are missing_prefix (the request asks for "User prompt:" first, so anything else
    is talk about the task), empty and too_short.
    """
    text = clean_text(text)
    if not text:
        return Reject("empty", "the completion is empty")
    prefix = _PREFIX.match(text)
    if prefix is None:
        return Reject("missing_prefix", text[:_SHOWN_CHARS])
    guess = text[prefix.end() :].strip()
    opened = prefix.group().strip()[:1]
    if opened and opened in "\"'`\u201c\u2018" and len(guess) > 1:
        guess = strip_quotes(opened + guess).removeprefix(opened)
    guess = strip_quotes(_strip_bold(guess))
    if not guess:
        return Reject("empty", "nothing after the prefix")
    if len(guess) < _MIN_CHARS:
        return Reject("too_short", guess)
    return guess


def choose_personas(keys: Iterable[str], count: int, seed: int) -> list[str]:
    """Return the personas to guess for: those of the smallest hashes, so more only adds.

    Fewer than ``count`` keys come back whole.
    """
    return sorted(set(keys), key=lambda key: hash_parts(str(seed), key))[:count]


def _strip_bold(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**") and text.count("**") == 2
    if bold and len(text) > 4:
        return text[2:-2].strip()
    return text[:-2].rstrip() if text.endswith("**") and text.count("**") == 1 else text
