"""Writes sheets on which people rate answers, and reads back what they wrote on them.

A score that cannot be read is an error with its line, never a guess. How a sheet is saved and read
is told in :mod:`tasks.evaluation.judging.sheet_files`.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import Problem
from infra.store.fingerprints import hash_parts
from tasks.evaluation.judging.sheet_files import (
    COMMENT,
    ROW,
    SCORE,
    Sheet,
    neutralise,
    raise_problems,
    read_sheet_files,
)
from tasks.records import Answer

_SHOWN = ("persona", "profile", "task", "rubric", "question", "answer")
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


def tabulate_sheet(
    rows: Sequence[SheetRow], *, blind: bool, note: str
) -> tuple[dict[str, str], ...]:
    """Return the cells of a sheet by column, row by row, without those that people fill in.

    A blind sheet shows neither the model nor what judges said. ``note`` says in every row where
    the sheet comes from (run, sample, seed), so that it can be made again.
    """
    judges = [] if blind else list(dict.fromkeys(name for row in rows for name, _ in row.verdicts))
    table = []
    for row in rows:
        cells = {ROW: row.answer_key, **{name: str(getattr(row, name)) for name in _SHOWN}}
        if not blind:
            given = dict(row.verdicts)
            cells["model"] = row.model
            cells |= {f"judge {name}": _format_score(given.get(name)) for name in judges}
        table.append({**cells, "sheet": note})
    return tuple(table)


def render_sheet(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return a sheet as CSV in UTF-8 with a byte order mark, without which Excel garbles it."""
    shown = [name for name in rows[0] if name != "sheet"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*map(neutralise, shown), SCORE, COMMENT, "sheet"])
    for row in rows:
        cells = (*(row[name] for name in shown), "", "", row["sheet"])
        writer.writerow([neutralise(cell) for cell in cells])
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
    sheets, problems = read_sheet_files(paths)
    first: dict[tuple[str, str], str] = {}
    for sheet in sheets:
        if sheet.paired:
            continue
        found, faults = _read_ratings(sheet, known)
        problems += faults
        for where, rating in found:
            earlier = first.setdefault((rating.answer_key, rating.rater), where)
            if earlier != where:
                what = f"{rating.rater} rated {rating.answer_key} before, at {earlier}"
                todo = "keep one of the two, or name the raters in a column `rater`"
                problems.append(Problem(where, what, todo))
            ratings.append(rating)
    raise_problems(problems)
    return tuple(ratings)


def read_sheet(path: str | Path, known_answer_keys: Collection[str]) -> tuple[Rating, ...]:
    """Read one sheet, as :func:`read_sheets` does."""
    return read_sheets([path], known_answer_keys)


def count_unrated(ratings: Iterable[Rating]) -> int:
    """Count the rows of sheets that nobody put a score in."""
    return sum(rating.score is None for rating in ratings)


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


def _read_ratings(
    sheet: Sheet, known: frozenset[str]
) -> tuple[list[tuple[str, Rating]], list[Problem]]:
    ratings: list[tuple[str, Rating]] = []
    problems: list[Problem] = []
    strangers = 0
    for line in sheet.lines:
        key = line.read(ROW).lower()
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
            rating = Rating(key, sheet.name_rater(line), score, line.read(COMMENT))
            ratings.append((line.where, rating))
    foreign = sheet.explain_strangers(strangers)
    return ([], [foreign]) if foreign else (ratings, problems)


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
