"""Removes from data what no reader sees: broken characters, controls, stray quotes."""

from __future__ import annotations

import re
import unicodedata

_LINE_BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(1 << 16, 0x110000, 1 << 16)
    )
    + "]"
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "\u2018": "\u2019", "«": "»", "「": "」", "`": "`"}


def clean_text(text: str) -> str:
    r"""Return the text in NFC with ``\n`` line ends, without what cannot be read or encoded.

    Control characters, noncharacters, byte order marks and lone surrogates go; joiners and
    direction marks stay, because scripts need them. What looks like a template or a chat token
    is text like any other. Outer whitespace is stripped.
    """
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", _UNREADABLE.sub("", _LINE_BREAKS.sub("\n", text)))
    return text.strip()


def strip_quotes(text: str) -> str:
    """Return the text without the quotes around it, if one pair encloses all of it."""
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        inside = text[1:-1]
        if text[0] in inside or text[-1] in inside:
            break
        text = inside.strip()
    return text
