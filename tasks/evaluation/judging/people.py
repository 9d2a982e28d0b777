"""Writes sheets on which people rate answers, and reads back what they wrote on them.

A sheet is CSV, because everybody has a programme for it. Such programmes have habits: they add a
byte order mark, write ``;`` for ``,`` and ``4,5`` for ``4.5``, leave blank rows, and run a cell
that begins with ``=`` as a formula. What is written here is safe from the last and what is read
here allows for the others; a score that cannot be read is an error with its line, never a guess.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, Problem
from infra.store.fingerprints import hash_parts
from infra.store.storage import FileStat, digest_input, find_inputs, open_input
from tasks.records import Answer

ROW, SCORE, COMMENT, RATER = "row", "score", "comment", "rater"
"""Columns that are read back; only the first two must be there."""

_SHOWN = ("persona", "profile", "task", "rubric", "question", "answer")
_SUFFIXES = (".csv", ".tsv", ".txt")
_DELIMITERS = (",", ";", "\t")
_BLANK = " ,;\t\r\n\u00a0"
"""What a row without content consists of, whatever separates its cells."""
_MOST_PROBLEMS = 20

_FORMULA = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
"""First characters that spreadsheets take for a formula, full-width ones included."""

_DANGEROUS = re.compile(f"'*{_FORMULA}")
_NEUTRALISED = re.compile(f"'+{_FORMULA}")
_SCORE_TEXT = re.compile(r"(\d+(?:[.,]\d+)?)(?:\s*[/\u2044]\s*5(?:[.,]0+)?)?")
_SCORE_TODO = "write a number from 1 to 5, such as 4 or 4.5, or leave the cell empty"


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One answer to be rated; ``verdicts`` are judges' scores by role, in their order."""

    answer_key: str
    persona: str
    profile: str
    task: str
    rubric: str
    question: str
    answer: str
    model: str
    verdicts: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's rating of one answer; ``score`` is ``None`` where the cell was left empty."""

    answer_key: str
    rater: str
    score: float | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of a sheet: where it stands, and its cells by column."""

    where: str
    cells: Mapping[str, str]


def choose_answers(answers: Iterable[Answer], count: int, seed: int) -> tuple[Answer, ...]:
    """Choose answers to be rated, balanced over models and, within a model, over tasks.

    Models differ by one answer at most, and so do the tasks of a model, as far as the rows go.
    Everything is ranked by hashes, so a larger count keeps what a smaller one chose. The order
    returned is shuffled by the same seed and tells nothing about the model.
    """
    cells: defaultdict[str, defaultdict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        cells[answer.model][answer.task].append(answer)
    ranked = [
        (place, hash_parts("sheet model", str(seed), str(place), model), answer)
        for model, tasks in cells.items()
        for place, answer in enumerate(_take_turns(tasks, seed, model))
    ]
    chosen = sorted(ranked, key=lambda item: item[:2])[:count]
    return tuple(
        sorted(
            (answer for _, _, answer in chosen),
            key=lambda item: (hash_parts("sheet order", str(seed), item.key), item.key),
        )
    )


def render_sheet(rows: Sequence[SheetRow], *, blind: bool, note: str) -> bytes:
    """Return a sheet as CSV in UTF-8 with a byte order mark, without which Excel garbles it.

    A blind sheet shows neither the model nor what judges said. ``note`` says in every row where
    the sheet comes from (run, sample, seed), so that it can be made again.
    """
    judges = [] if blind else list(dict.fromkeys(name for row in rows for name, _ in row.verdicts))
    told = [] if blind else ["model", *(f"judge {name}" for name in judges)]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([ROW, *_SHOWN, *map(neutralise, told), SCORE, COMMENT, "sheet"])
    for row in rows:
        cells = [row.answer_key, *(getattr(row, name) for name in _SHOWN)]
        if not blind:
            given = dict(row.verdicts)
            cells += [row.model, *(_format_score(given.get(name)) for name in judges)]
        writer.writerow([neutralise(cell) for cell in (*cells, "", "", note)])
    return text.getvalue().encode("utf-8-sig")


def read_sheets(
    paths: Iterable[str | Path], known_answer_keys: Collection[str]
) -> tuple[Rating, ...]:
    """Read filled-in sheets: files, globs or folders; the order is that of the sheets.

    The rater is named in a column ``rater``, else by the file's name. A cell without a score is a
    rating without a score: counted as missing by
    :mod:`tasks.evaluation.judging.agreement`, not left out.

    Raises :class:`ConfigError` that lists, with lines: ids that are no answer of this run, scores
    that are no number from 1 to 5, answers that somebody rated twice, sheets that are none.
    """
    known = frozenset(known_answer_keys)
    ratings: list[Rating] = []
    problems: list[Problem] = []
    first: dict[tuple[str, str], str] = {}
    for stat in _find_sheets(paths):
        try:
            lines = list(_read_lines(stat.path))
        except ConfigError as error:
            problems += error.problems
            continue
        found, faults = _read_ratings(lines, Path(stat.path).stem, known)
        problems += faults
        for where, rating in found:
            earlier = first.setdefault((rating.answer_key, rating.rater), where)
            if earlier != where:
                what = f"{rating.rater} rated {rating.answer_key} before, at {earlier}"
                todo = "keep one of the two, or name the raters in a column `rater`"
                problems.append(Problem(where, what, todo))
            ratings.append(rating)
    if problems:
        raise ConfigError(*_cut(problems))
    return tuple(ratings)


def read_sheet(path: str | Path, known_answer_keys: Collection[str]) -> tuple[Rating, ...]:
    """Read one sheet, as :func:`read_sheets` does."""
    return read_sheets([path], known_answer_keys)


def count_unrated(ratings: Iterable[Rating]) -> int:
    """Count the rows of sheets that nobody put a score in."""
    return sum(rating.score is None for rating in ratings)


def digest_sheets(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Return one digest a sheet, for fingerprints; names count, as they may name the rater."""
    return tuple(
        sorted(f"sheet:{Path(stat.path).stem}:{digest_input(stat)}" for stat in _find_sheets(paths))
    )


def neutralise(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs; :func:`restore` gives it back exactly."""
    return f"'{text}" if _DANGEROUS.match(text) else text


def restore(cell: str) -> str:
    """Return the text that was neutralised, or a cell that was not as it is."""
    return cell[1:] if _NEUTRALISED.match(cell) else cell


def _take_turns(tasks: Mapping[str, list[Answer]], seed: int, model: str) -> list[Answer]:
    """Return a model's answers, one of each task a round, until none is left."""
    ranked = [
        (place, hash_parts("sheet task", str(seed), str(place), model, task), answer)
        for task, rows in tasks.items()
        for place, answer in enumerate(
            sorted(rows, key=lambda item: (hash_parts("sheet", str(seed), item.key), item.key))
        )
    ]
    return [answer for _, _, answer in sorted(ranked, key=lambda item: item[:2])]


def _format_score(score: float | None) -> str:
    return "" if score is None else f"{score:g}"


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


def _read_lines(path: str) -> Iterator[_Line]:
    """Yield the rows of a sheet that are not blank, each with its line and its row number."""
    text = _read_text(path)
    skipped = 0
    named = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)
    if named:
        text, skipped = text[named.end() :], 1
    delimiter = _find_delimiter(text) if named is None else named[1]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or ",", strict=True)
    header: list[str] | None = None
    number, begins = 0, 1 + skipped
    try:
        for cells in reader:
            number += 1
            where = f"{path}:{begins} (row {number})"
            begins = reader.line_num + 1 + skipped
            if not "".join(cells).strip(_BLANK):
                continue
            if header is None:
                header = _read_header(path, cells)
                continue
            yield _Line(where, dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        what = f"is no CSV: {error}"
        todo = "fix the quotation marks, or save the sheet as CSV again"
        raise ConfigError(Problem(f"{path}:{begins}", what, todo)) from error
    if header is None:
        raise ConfigError(Problem(path, "is empty", "give a sheet with a row and a score column"))


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
        names = [name.strip().strip('"').strip().lower() for name in first.split(delimiter)]
        if ROW in names and SCORE in names:
            return delimiter
    return None


def _read_header(path: str, cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    wrong = [name for name in (ROW, SCORE) if names.count(name) != 1]
    if wrong:
        what = f"must have one column `{wrong[0]}`, but its first line is {','.join(cells)[:80]!r}"
        raise ConfigError(Problem(path, what, "keep the first line as the sheet came"))
    return names


def _read_ratings(
    lines: Sequence[_Line], stem: str, known: frozenset[str]
) -> tuple[list[tuple[str, Rating]], list[Problem]]:
    ratings: list[tuple[str, Rating]] = []
    problems: list[Problem] = []
    strangers = 0
    for line in lines:
        key = restore(line.cells.get(ROW, "").strip()).lower()
        given = line.cells.get(SCORE, "")
        score = _read_score(given)
        if not key:
            what = "has no row id"
            problems.append(Problem(line.where, what, "copy the id from the sheet as it came"))
        elif key not in known:
            strangers += 1
            what = f"{key[:40]!r} is no answer of this run"
            problems.append(Problem(line.where, what, "copy the id from the sheet as it came"))
        if isinstance(score, str):
            problems.append(
                Problem(line.where, f"score {given.strip()[:40]!r} {score}", _SCORE_TODO)
            )
        elif key in known:
            rater = restore(line.cells.get(RATER, "")).strip() or stem
            comment = restore(line.cells.get(COMMENT, "")).strip()
            ratings.append((line.where, Rating(key, rater, score, comment)))
    if strangers > 1 and strangers == len(lines):
        path = lines[0].where.rpartition(":")[0]
        todo = "read it with the configuration and the data it was made from"
        return [], [Problem(path, f"none of its {strangers} rows is an answer of this run", todo)]
    return ratings, problems


def _read_score(cell: str) -> float | str | None:
    """Return the score, ``None`` for an empty cell, or what is wrong with it."""
    text = unicodedata.normalize("NFKC", cell).strip().lstrip("'").strip()
    if not text:
        return None
    found = _SCORE_TEXT.fullmatch(text)
    if found is None:
        return "is no number (spreadsheets turn 4/5 into a date)"
    score = float(found[1].replace(",", "."))
    return score if 1 <= score <= 5 else "is not between 1 and 5"


def _cut(problems: Sequence[Problem]) -> Sequence[Problem]:
    left = len(problems) - _MOST_PROBLEMS
    if left <= 0:
        return problems
    more = Problem("sheets", f"{left} more such faults", "fix these first")
    return [*problems[:_MOST_PROBLEMS], more]
