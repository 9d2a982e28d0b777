"""Finds broken text: letters decoded wrongly, bytes and tokens spelled out, rows of odd symbols.

One replacement character is a broken letter, which harms nobody; text full of them is broken.
Code, formulas, tables and rules are not looked at, for there odd symbols are at home.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.text.prose import drop_code, keep_prose
from infra.text.wording import shorten

_MOST_REPLACED = 2
_LEAST_CHARS = 40
_LEAST_LETTERS = 0.35

# UTF-8 read as Latin-1 or cp1252. What capitals of French or Portuguese may stand before (quotes,
# blanks) is no sign of it, unless a small letter stands before the capital.
_MISREAD = re.compile(
    "\u00e2\u20ac[\u0080-\u00bf\u0152-\u0178\u02c6\u02dc\u2010-\u203a\u20ac\u2122]?"
    "|\u00ef\u00bf\u00bd|\u00ef\u00bb\u00bf|\u00f0\u0178|\u00f0\u009f"
    "|\u00c3[\u0080-\u009f\u00a1-\u00aa\u00ac-\u00ba\u00bc-\u00bf\u0192\u2020\u2021\u20ac\u2122]"
    "|[a-z]\u00c3[\u00a0-\u00bf]"
    "|\u00c2[\u0080-\u009f\u00a1-\u00aa\u00ac-\u00ba\u00bc-\u00bf]"
    "|(?:[\u00d0\u00d1][\u0080-\u00bf\u0192\u2020\u2021\u02c6\u2018-\u201e\u2026\u2030\u20ac]){3,}"
    "|(?:[\u00e3-\u00e9][\u0080-\u00bf\u0152-\u0178\u0192\u02c6\u02dc\u2010-\u203a\u20ac\u2122]{1,2}){3,}"
)
_MISREAD_SIGN = re.compile("[\u00c2\u00c3\u00d0\u00d1\u00e2-\u00e9\u00ef\u00f0]")
_TOKEN_MARKS = re.compile(
    "[a-z.,]\u0120\\w.*[a-z.,]\u0120\\w|\u010a\u010a|\u2581\\w+\\s*\u2581\\w+"
)
_BYTES = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ODD = re.compile(r"[^\w\s]{8,}")
_PLAIN_MARKS = re.compile(r"[^!-/:-@\[-`{-~\u00a1-\u00bf]")
_SPACED_SCRIPTS = re.compile(r"[A-Za-z\u00c0-\u052f]{70,}")
# Combining vowels are no letters to Python, and pictures are no broken text.
_READABLE = re.compile("[^\\W_]+|[\u0900-\U0010ffff]+")
_MARKS = re.compile("[!-/:-@\\[-`{-~\u00a1-\u00bf]")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4}){2,}|(?:\\x[0-9a-fA-F]{2}){3,}|&(?:#\d+|[a-z]+);&")

SIGNS = r"[\u00c0-\u00ff][\u2013-\u2026]|\\[ux]|&[#a-z]|<0x|[A-Za-z\u00c0-\u00ff]{70}|[^\w\s]{8}"
"""One of these, or few letters, is in every plain text in which anything broken is found."""


def find_broken_text(text: str) -> str | None:
    """Return what is broken in a text, or ``None``."""
    if text.count("\ufffd") > _MOST_REPLACED:
        return f"{text.count(chr(0xFFFD))} letters that could not be decoded"
    bare = drop_code(text)
    for pattern in _list_patterns(bare):
        if found := pattern.search(bare):
            return shorten(_show(bare, found), 80)
    prose = keep_prose(text)
    if found := _SPACED_SCRIPTS.search(prose):
        return shorten(found[0], 80)
    for found in _ODD.finditer(prose):
        odd = not _PLAIN_MARKS.search(found[0]) and len(set(found[0])) >= 4
        if odd and "](" not in found[0] and "../" not in found[0]:
            return shorten(_show(prose, found), 80)
    return _find_few_letters(prose)


def _list_patterns(text: str) -> Iterator[re.Pattern[str]]:
    """Yield the patterns that may be found, by the signs that they cannot do without."""
    if not text.isascii():
        if _MISREAD_SIGN.search(text):
            yield _MISREAD
        if any(mark in text for mark in "\u0120\u010a\u2581"):
            yield _TOKEN_MARKS
    if "\\" in text or "&" in text:
        yield _ESCAPED
    yield _BYTES


def _find_few_letters(prose: str) -> str | None:
    marks = len(_MARKS.findall(prose))
    # The beginning tells of most texts that there are letters enough.
    if marks * _LEAST_LETTERS <= _count_readable(prose[: 2 * marks]) * (1 - _LEAST_LETTERS):
        return None
    readable = _count_readable(prose)
    if marks + readable < _LEAST_CHARS or marks * _LEAST_LETTERS <= readable * (1 - _LEAST_LETTERS):
        return None
    return shorten(prose.strip(), 80)


def _count_readable(text: str) -> int:
    return sum(map(len, _READABLE.findall(text)))


def _show(text: str, found: re.Match[str]) -> str:
    return text[max(0, found.start() - 20) : found.end() + 20].strip()
