"""Cleans what a model wrote before it is read: terminal codes, halves of characters, controls."""

from __future__ import annotations

import re

from infra.text_cleaning import clean_text

_TERMINAL_CODE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
    # A colour whose escape character was taken out before.
    r"|\[(?:0|1|[349]\d)(?:;\d{1,3})*m(?![\w\]])"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def mend_surrogates(text: str) -> str:
    """Return the text with pairs of surrogates joined; a half that is alone becomes U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def drop_terminal_codes(text: str) -> str:
    """Return the text without the colours and cursor moves of terminals, each whole."""
    return _TERMINAL_CODE.sub("", text) if "\x1b" in text or "[" in text else text


def clean_answer(text: str) -> str:
    """Clean what a model wrote: terminal codes go whole, half letters show that they are broken."""
    return clean_text(mend_surrogates(drop_terminal_codes(text)))
