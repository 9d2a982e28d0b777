r"""Reads the JSON value in a model's answer, in the forms that models wrap it in and misspell it.

The value may stand alone, in a fence, after a colon, between talk. Beside JSON it takes trailing
commas, single and typographic quotes, Python's literals, names without quotes, raw line breaks in
strings, a quote inside a string that nothing but text follows. What is cut off is no value, what
is nested deeper than any answer is none, a number that is not finite is null. Of equal keys the
last counts. Half surrogates, escaped ones too, become U+FFFD: everything that comes out can be
stored.

Which of several values counts is the reader's to say: :func:`find_json` returns the first that it
wants, or the last, as judges correct themselves and others run on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator

from infra.errors import Reject
from infra.text.text_cleaning import fix_surrogates

MOST_LEVELS = 48
"""Levels of brackets in a value; schemas here have three."""

_MOST_STARTS = 200
_MOST_STEPS = 100_000
_SHOWN_CHARS = 80
_CUT, _DEEP = "cut off", "nested too deep"
_START = re.compile(r"[\[{]")
_SPACE = re.compile(r"(?:[\s\ufeff\u200b]+|//[^\n]*|/\*.*?\*/|#[^\n]*)*", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_NAME = re.compile(r"[^\W\d][\w /-]{0,60}?(?=\s*:)")
_INDEX = re.compile(r"\d+")
_LITERALS: dict[str, object] = {
    "true": True, "True": True, "false": False, "False": False, "null": None, "None": None,
    "undefined": None, "NaN": None, "nan": None, "Infinity": None, "inf": None,
}  # fmt: skip
_CLOSERS = {
    '"': '"', "'": "'", "\u201c": '\u201d"', "\u201d": '\u201d"', "\u201e": "\u201c\u201d",
    "\u2018": "\u2019", "\u00ab": "\u00bb", "\u300c": "\u300d", "`": "`", "\uff02": "\uff02",
}  # fmt: skip
_AFTER_KEY = re.compile(r"\s*[:\uff1a]|\s*=>")
_AFTER_VALUE = re.compile(r"\s*(?:[,;}\]\uff0c]|\Z|//|#|```)|[ \t]*\n\s*[\"'\u201c]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")


def find_json(
    text: str,
    wanted: Callable[[object], bool] | None = None,
    *,
    last: bool = False,
    ended: bool = False,
) -> object | Reject:
    """Return the first object or list of an answer that is wanted, or the last one.

    If none is wanted it is the first that there is, for the caller to say what is wrong with it.
    An answer that ends within a value, or has no value, is a Reject: not_json; except that one
    which the model has ``ended`` by itself may lack what closes its last value.
    """
    found = _find_json(text, wanted, last=last)
    if not ended or not isinstance(found, Reject) or not found.detail.startswith(_CUT):
        return found
    for closers in _list_closers(text):
        value = _find_json(text + closers, wanted, last=last)
        if not isinstance(value, Reject) and (wanted is None or wanted(value)):
            return value
    return found


def _list_closers(text: str) -> list[str]:
    """Return what may close an unfinished value: its brackets, within a string or not."""
    open_brackets: list[str] = []
    quoted = escaped = False
    for char in text:
        if escaped or (quoted and char == "\\"):
            escaped = not escaped
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in "[{":
            open_brackets.append("]" if char == "[" else "}")
        elif not quoted and char in "]}" and open_brackets:
            open_brackets.pop()
    closers = "".join(reversed(open_brackets))
    if not closers:
        return []
    return ['"' + closers, closers] if quoted else [closers, '"' + closers]


def _find_json(
    text: str, wanted: Callable[[object], bool] | None, *, last: bool
) -> object | Reject:
    first: object = None
    found: object = None
    for value in find_values(text):
        if isinstance(value, Reject):
            return value
        first = value if first is None else first
        if wanted is None or wanted(value):
            found = value
            if not last:
                break
    found = first if found is None else found
    return Reject("not_json", text.strip()[:_SHOWN_CHARS]) if found is None else found


def find_values(text: str) -> Iterator[object]:
    """Yield the objects and lists of an answer in order, outermost ones.

    A :class:`Reject` ends them where the text is cut off within one, or one is too deep.
    """
    text = fix_surrogates(text)
    at, steps = 0, _MOST_STEPS
    for _ in range(_MOST_STARTS):
        start = _START.search(text, at)
        if start is None or steps <= 0:
            return
        value, at, used, why = _read_at(text, start.start(), steps)
        steps -= used
        if why:
            yield Reject("not_json", f"{why}: {text[-_SHOWN_CHARS:]}")
            return
        if value is not None:
            yield value


def _read_at(text: str, start: int, steps: int) -> tuple[object, int, int, str]:
    """Return the value at a bracket, where it ends, what it cost, and why nothing can follow."""
    try:
        value, end = json.JSONDecoder(
            strict=False, parse_int=_read_int, parse_constant=lambda _: None
        ).raw_decode(text, start)
        return _clean(value, 1), end, (end - start) // 20, ""
    except (ValueError, RecursionError):
        pass
    except _Fault as fault:
        return None, start + 1, 0, fault.why
    reader = _Reader(text, steps)
    try:
        return reader.read_value(start, 0), reader.at, reader.used, ""
    except _Fault as fault:
        return None, start + 1, reader.used, fault.why


def _read_int(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= 18 else _finite(digits)


def _finite(digits: str) -> float | None:
    number = float(digits.replace("_", ""))
    return number if math.isfinite(number) else None


def _clean(value: object, level: int) -> object:
    """Return the value with strings and numbers that can be stored."""
    if isinstance(value, str):
        return fix_surrogates(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list):
        if level > MOST_LEVELS:
            raise _Fault(_DEEP)
        if isinstance(value, list):
            return [_clean(item, level + 1) for item in value]
        return {fix_surrogates(key): _clean(item, level + 1) for key, item in value.items()}
    return value


class _Fault(Exception):
    """End of the reading of one value; ``why`` is set where no other may be looked for."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        super().__init__(why)


class _Reader:
    """Reader of one value of JSON as models misspell it, bounded in depth and work."""

    def __init__(self, text: str, steps: int) -> None:
        self.text, self.at, self.used, self._steps = text, 0, 0, steps
        self._members = 0

    def read_value(self, at: int, level: int) -> object:
        """Read the value that begins at a place; ``self.at`` is then behind it."""
        self._spend(1)
        if level > MOST_LEVELS:
            raise _Fault(_DEEP)
        self.at = at
        char = self._peek()
        if char == "{":
            return self._read_object(level)
        if char == "[":
            return self._read_list(level)
        if char in _CLOSERS:
            return self._read_string(_AFTER_VALUE)
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            digits = number[0].replace("_", "")
            return _read_int(digits) if digits.lstrip("-+").isdecimal() else _finite(digits)
        word = _WORD.match(self.text, self.at)
        if word is None or word[0] not in _LITERALS:
            raise _Fault
        self.at = word.end()
        return _LITERALS[word[0]]

    def _read_object(self, level: int) -> dict[str, object]:
        self.at += 1
        found: dict[str, object] = {}
        while self._peek() != "}":
            quoted = self._peek() in _CLOSERS
            key = self._read_key()
            if self._peek() not in (":", "\uff1a") and not self.text.startswith("=>", self.at):
                raise _Fault
            self.at += 2 if self.text.startswith("=>", self.at) else 1
            self._members += quoted
            found[key] = self.read_value(self._skip(), level + 1)
            self._members += 1
            self._pass_comma("}")
        self.at += 1
        return found

    def _read_list(self, level: int) -> list[object]:
        self.at += 1
        found: list[object] = []
        while self._peek() != "]":
            found.append(self.read_value(self.at, level + 1))
            self._members += 1
            self._pass_comma("]")
        self.at += 1
        return found

    def _read_key(self) -> str:
        if self._peek() in _CLOSERS:
            return self._read_string(_AFTER_KEY)
        name = _NAME.match(self.text, self.at) or _INDEX.match(self.text, self.at)
        if name is None:
            raise _Fault
        self.at = name.end()
        return name[0].strip()

    def _pass_comma(self, closer: str) -> None:
        before = self.at
        mark = self._peek()
        if mark in (",", "\uff0c", ";"):
            self.at += 1
        elif mark != closer and not (mark in _CLOSERS and "\n" in self.text[before : self.at]):
            raise _Fault

    def _read_string(self, after: re.Pattern[str]) -> str:
        closers = _CLOSERS[self.text[self.at]]
        pieces: list[str] = []
        begin = at = self.at + 1
        while at < len(self.text):
            char = self.text[at]
            if char == "\\":
                self._spend(1)
                pieces.append(self.text[begin:at])
                piece, at = self._read_escape(at)
                pieces.append(piece)
                begin = at
            elif char in closers and after.match(self.text, at + 1):
                pieces.append(self.text[begin:at])
                self._spend(len(self.text[begin:at]) // 8 + 1)
                self.at = at + 1
                return fix_surrogates("".join(pieces))
            else:
                at += 1
        self._spend((at - begin) // 8 + 1)
        raise _Fault(_CUT if self._members else "")

    def _read_escape(self, at: int) -> tuple[str, int]:
        mark = self.text[at + 1 : at + 2]
        if mark == "u" and _HEX.match(self.text, at + 2):
            return chr(int(self.text[at + 2 : at + 6], 16)), at + 6
        if mark and mark not in "\\\"'/" and mark not in _ESCAPES:
            return "\\" + mark, at + 2  # "\(" of a formula, "\_" of markdown
        return _ESCAPES.get(mark, mark), at + 2

    def _skip(self) -> int:
        found = _SPACE.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return self.at

    def _peek(self) -> str:
        self._skip()
        if self.at >= len(self.text) or self.text.startswith("```", self.at):
            raise _Fault(_CUT if self._members else "")
        return self.text[self.at]

    def _spend(self, steps: int) -> None:
        self.used += steps
        if self.used > self._steps:
            raise _Fault
