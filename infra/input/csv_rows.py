"""Reads CSV so that a quote that is never closed costs its own line, not the rest of the file.

Records are put together line by line under strict rules. One that breaks them, or that no closing
quote ends, gives up its first line alone, with its number; reading goes on with the next line.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_DELIMITERS = (",", "\t", ";", "|")
_SEPARATOR = re.compile(r"sep=[,;|\t]\s*", re.IGNORECASE)
_MOST_LINES = 2_000
_MOST_CHARS = 4 << 20
"""Beyond these a record is one whose quote was never closed."""


class BadHeader(ValueError):
    """A header that does not tell which column is which."""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One record: the line it begins in, and its values, or why it has none."""

    line: int
    values: dict[str, str] | None
    detail: str = ""


def read_csv(lines: Iterable[str], delimiter: str) -> Iterator[CsvRow]:
    """Read all records; the delimiter is another one where only that one stands in the header.

    Raises :class:`BadHeader` for two columns of one name.
    """
    csv.field_size_limit(sys.maxsize)
    reader = _Records(lines)
    first = reader.take_line()
    if first is None:
        return
    if _SEPARATOR.fullmatch(first):  # Excel tells its delimiter in a line before the header
        delimiter = first[4]
        first = reader.take_line() or ""
    if delimiter not in first:
        delimiter = max(_DELIMITERS, key=lambda mark: (first.count(mark), mark == delimiter))
    try:
        _, header = reader.take_record(first, delimiter, None)
    except csv.Error as error:
        raise BadHeader(f"its header (line 1) cannot be read: {error}") from error
    header = [name.strip() for name in header]
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise BadHeader(f"has two columns named {twice[0]!r}")
    while (line := reader.take_line()) is not None:
        number = reader.number
        if not line.strip("\r\n"):
            continue
        try:
            _, fields = reader.take_record(line, delimiter, len(header))
        except csv.Error as error:
            yield CsvRow(number, None, str(error))
            continue
        if len(fields) != len(header):
            yield CsvRow(number, None, f"{len(fields)} fields, the header has {len(header)}")
            continue
        named = zip(header, fields, strict=True)
        yield CsvRow(number, {name: value for name, value in named if name})


class _Records:
    """Queue of lines; ``number`` is that of the line taken last, from 1."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._ahead: deque[str] = deque()
        self.number = 0

    def take_line(self) -> str | None:
        """Return the next line, or ``None`` at the end."""
        line = self._ahead.popleft() if self._ahead else next(self._lines, None)
        if line is not None:
            self.number += 1
        return line

    def take_record(
        self, first: str, delimiter: str, columns: int | None
    ) -> tuple[list[str], list[str]]:
        """Return a record's lines and fields; on :class:`csv.Error` only its first line is gone."""
        taken = [first]
        try:
            fields = self._parse(taken, delimiter)
            if len(taken) > 1 and columns is not None and len(fields) != columns:
                raise csv.Error(f"{len(fields)} fields, the header has {columns}")
        except csv.Error as error:
            self._ahead.extendleft(reversed(taken[1:]))
            self.number -= len(taken) - 1
            alone = _parse_alone(first, delimiter, columns)
            if alone is not None:
                return [first], alone
            if first.count('"') % 2:
                what = "a quote that opens in this line is not closed where a field ends"
                raise csv.Error(f"{what}: {first.strip()[:120]}") from error
            raise
        return taken, fields

    def _parse(self, taken: list[str], delimiter: str) -> list[str]:
        """Parse strictly, adding to ``taken`` the lines that the record goes on in."""

        def feed() -> Iterator[str]:
            yield taken[0]
            chars = 0
            while len(taken) < _MOST_LINES and chars < _MOST_CHARS:
                line = self.take_line()
                if line is None:
                    return
                taken.append(line)
                chars += len(line)
                yield line

        return next(csv.reader(feed(), delimiter=delimiter, strict=True), [])


def _parse_alone(line: str, delimiter: str, columns: int | None) -> list[str] | None:
    r"""Parse a line whose quotes stand where strict rules have none, if it is whole by itself.

    Some programs write a quote in a text as ``\"``, others forget to quote one.
    """
    readers = []
    if '\\"' in line:
        readers.append(csv.reader([line], delimiter=delimiter, strict=True, escapechar="\\"))
    if line.count('"') % 2 == 0:
        readers.append(csv.reader([line], delimiter=delimiter))
    for reader in readers:
        try:
            fields = next(reader, [])
        except csv.Error:
            continue
        if columns is None or len(fields) == columns:
            return fields
    return None
