"""Removes from data what no reader sees: broken characters, controls, stray quotes."""

from __future__ import annotations

import dataclasses
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
_SURROGATE = re.compile("[\ud800-\udfff]")
_TERMINAL_CODE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-Z\\-_])"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    # A colour whose escape character was taken out before.
    r"|\[(?:0|1|[349]\d)(?:;\d{1,3})*m(?![\w\]])"
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


def fix_surrogates(text: str) -> str:
    """Return the text with pairs of surrogates joined; a half that is alone becomes U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def drop_terminal_codes(text: str) -> str:
    """Return the text without the colours and cursor moves of terminals, each whole."""
    marked = "\x1b" in text or "[" in text or "\x9b" in text
    return _TERMINAL_CODE.sub("", text) if marked else text


def remove_unreadable(text: str) -> str:
    """Return the text without what can be neither read nor encoded, and otherwise as it is.

    Half surrogates that belong together are joined, lone ones become U+FFFD; terminal codes,
    control characters, noncharacters and byte order marks go. Whitespace stays: that is for the
    readers.
    """
    if text.isascii() and text.isprintable():
        return text
    if "\x1b" in text or "\x9b" in text:
        text = drop_terminal_codes(text)
    return _UNREADABLE.sub("", fix_surrogates(text).replace("\x85", "\n"))


class DeltaCleaner:
    """Cleaner of a text that comes in deltas: half a character waits for its other half."""

    def __init__(self) -> None:
        self._held = ""

    def clean(self, delta: str, *, last: bool = False) -> str:
        """Return what of the text so far can be shown; all of it with the last delta."""
        text, self._held = self._held + delta, ""
        if not last and text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return remove_unreadable(text)


def is_encodable(value: object) -> bool:
    """Tell whether every text in nested data or records can be written to a file."""
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    if isinstance(value, dict):
        return all(is_encodable(item) for pair in value.items() for item in pair)
    if dataclasses.is_dataclass(value):
        return all(is_encodable(getattr(value, name)) for name in value.__dataclass_fields__)
    return all(map(is_encodable, value)) if isinstance(value, list | tuple) else True


def strip_quotes(text: str) -> str:
    """Return the text without the quotes around it, if one pair encloses all of it."""
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        inside = text[1:-1]
        if text[0] in inside or text[-1] in inside:
            break
        text = inside.strip()
    return text


def clean_answer(text: str) -> str:
    """Clean what a model wrote: terminal codes go whole, half letters show that they are broken."""
    return clean_text(fix_surrogates(drop_terminal_codes(text)))
