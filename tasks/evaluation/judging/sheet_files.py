"""Reads the sheets that people filled in, as spreadsheets save them, and keeps cells harmless.

A sheet is CSV, because everybody has a programme for it. Such programmes have habits: they add a
byte order mark, write ``;`` for ``,`` and ``4,5`` for ``4.5``, leave blank rows, and run a cell
that begins with ``=`` as a formula. What is written here is safe from the last and what is read
here allows for the others. There are two kinds: a score an answer (:mod:`.people`), and which of
two answers is preferred (:mod:`.preferences`); the first line says which. What annotation tools
export (:mod:`.label_studio`, :mod:`.argilla`) is read as if it were such a sheet.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import ConfigError, Problem
from infra.store.storage import FileStat, digest_input, find_inputs, open_input
from tasks.evaluation.judging.argilla import read_record
from tasks.evaluation.judging.label_studio import read_task
from tasks.scores import PEOPLE

ROW, SCORE, COMMENT, RATER = "row", "score", "comment", "rater"
LEFT, RIGHT, PREFERRED, BLIND = "left", "right", "preferred", "blind"

_SCORED = (ROW, SCORE)
_PAIRED = (LEFT, RIGHT, PREFERRED)
"""Columns that a sheet of each kind must have; the others may be there."""

_ANNOTATED = (".json", ".jsonl")
_SUFFIXES = (".csv", ".tsv", ".txt", *_ANNOTATED)
_DELIMITERS = (",", ";", "\t")
_BLANK = " ,;\t\r\n\u00a0"
"""What a row without content consists of, whatever separates its cells."""
_MOST_PROBLEMS = 20

_FORMULA = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
"""First characters that spreadsheets take for a formula, full-width ones included."""

_DANGEROUS = re.compile(f"'*{_FORMULA}")
_NEUTRALISED = re.compile(f"'+{_FORMULA}")


@dataclass(frozen=True, slots=True)
class SheetLine:
    """One row of a sheet: where it stands, and its cells by column."""

    where: str
    cells: Mapping[str, str]

    def read(self, column: str) -> str:
        """Return the text of a cell, as it was before it was neutralised; empty without one."""
        return restore(self.cells.get(column, "").strip()).strip()


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet: the rows that are not blank; ``paired`` if it tells which answer is preferred."""

    path: str
    paired: bool
    lines: tuple[SheetLine, ...]

    def name_rater(self, line: SheetLine) -> str:
        """Return who filled in a line: the column ``rater``, else the file's name.

        Never :data:`PEOPLE`, which all of them together are called.
        """
        name = line.read(RATER) or Path(self.path).stem
        return f"{name} (one)" if name == PEOPLE else name

    def explain_strangers(self, strangers: int) -> Problem | None:
        """Return one problem for a sheet of which no row is of this run, where it has several."""
        if strangers < 2 or strangers < len(self.lines):
            return None
        where = self.lines[0].where.rpartition(":")[0]
        what = f"none of its {strangers} rows is an answer of this run"
        todo = "read it with the configuration and the data it was made from"
        return Problem(where, what, todo)


def read_sheet_files(paths: Iterable[str | Path]) -> tuple[list[Sheet], list[Problem]]:
    """Read files, globs or folders of sheets in their order, and tell which of them are none.

    Raises :class:`ConfigError` for paths where nothing is.
    """
    sheets: list[Sheet] = []
    problems: list[Problem] = []
    for stat in _find_sheets(paths):
        try:
            read = _read_annotations if stat.path.endswith(_ANNOTATED) else _read_sheet
            sheets.append(read(stat.path))
        except ConfigError as error:
            problems += error.problems
    return sheets, problems


def digest_sheets(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Return one digest a sheet, for fingerprints; names count, as they may name the rater."""
    return tuple(
        sorted(f"sheet:{Path(stat.path).stem}:{digest_input(stat)}" for stat in _find_sheets(paths))
    )


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise :class:`ConfigError` with the first of many problems, if there are any."""
    left = len(problems) - _MOST_PROBLEMS
    if left > 0:
        more = Problem("sheets", f"{left} more such faults", "fix these first")
        problems = [*problems[:_MOST_PROBLEMS], more]
    if problems:
        raise ConfigError(*problems)


def neutralise(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs; :func:`restore` gives it back exactly."""
    return f"'{text}" if _DANGEROUS.match(text) else text


def restore(cell: str) -> str:
    """Return the text that was neutralised, or a cell that was not as it is."""
    return cell[1:] if _NEUTRALISED.match(cell) else cell


def _find_sheets(paths: Iterable[str | Path]) -> list[FileStat]:
    found: dict[str, FileStat] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            found |= {stat.path: stat for stat in find_inputs(str(path), _SUFFIXES)}
        except OSError as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            todo = "give a sheet written by `opencharacter show CONFIG answers --sample 50`"
            problems.append(Problem(str(path), what, todo))
    if problems:
        raise ConfigError(*problems)
    return list(found.values())


def _read_sheet(path: str) -> Sheet:
    """Read the rows of a sheet that are not blank, each with its line and its row number."""
    text = _read_text(path)
    skipped = 0
    named = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)
    if named:
        text, skipped = text[named.end() :], 1
    delimiter = _find_delimiter(text) if named is None else named[1]
    rows = _number_rows(path, text, delimiter or ",", skipped)
    _, first = next(rows, ("", []))
    if not first:
        raise ConfigError(Problem(path, "is empty", "give a sheet with a row and a score column"))
    header = _read_header(path, first)
    lines = [SheetLine(where, dict(zip(header, cells, strict=False))) for where, cells in rows]
    return Sheet(path, PREFERRED in header, tuple(lines))


def _read_annotations(path: str) -> Sheet:
    """Read what Label Studio or Argilla exported: a list of records, or one a line."""
    text = _read_text(path)
    todo = "give Label Studio's JSON export, or Argilla's records"
    try:
        whole = text.lstrip().startswith("[")
        rows = text.split("\n")
        records = json.loads(text) if whole else [json.loads(row) for row in rows if row.strip()]
        if not records:
            raise ValueError("it is empty")
        lines = [
            SheetLine(f"{path}: record {number}", cells)
            for number, record in enumerate(records, 1)
            for cells in _read_annotated(record)
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"holds no annotations that can be read: {error!r}"
        raise ConfigError(Problem(path, what, todo)) from error
    return Sheet(path, any(PREFERRED in line.cells for line in lines), tuple(lines))


def _read_annotated(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    return read_record(record) if "fields" in record else read_task(record)


def _number_rows(
    path: str, text: str, delimiter: str, skipped: int
) -> Iterator[tuple[str, list[str]]]:
    """Yield rows with content, and where they begin; ``skipped`` lines came before them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number, begins = 0, 1 + skipped
    try:
        for cells in reader:
            number += 1
            where = f"{path}:{begins} (row {number})"
            begins = reader.line_num + 1 + skipped
            if "".join(cells).strip(_BLANK):
                yield where, cells
    except csv.Error as error:
        what = f"is no CSV: {error}"
        todo = "fix the quotation marks, or save the sheet as CSV again"
        raise ConfigError(Problem(f"{path}:{begins}", what, todo)) from error


def _read_text(path: str) -> str:
    """Decode what spreadsheets write: UTF-8, UTF-16 with a mark, or the old Western code page."""
    try:
        with open_input(path) as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}", "give a CSV file")) from error
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _find_delimiter(text: str) -> str | None:
    """Return what separates the columns of the first line, or ``None`` if that is no header."""
    first = next((line for line in text.splitlines() if line.strip(_BLANK)), "")
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"').strip().lower() for name in first.split(delimiter)}
        if names.issuperset(_SCORED) or names.issuperset(_PAIRED):
            return delimiter
    return None


def _read_header(path: str, cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    needed = _PAIRED if PREFERRED in names else _SCORED
    wrong = [name for name in needed if names.count(name) != 1]
    if wrong:
        what = f"must have one column `{wrong[0]}`, but its first line is {','.join(cells)[:80]!r}"
        raise ConfigError(Problem(path, what, "keep the first line as the sheet came"))
    return names
