"""Reads back which of two models' answers people prefer, from the sheets that a page saved.

The page beside the report (``side_by_side.html``) shows two answers to one question, left and
right as a hash decides. Its sheet names both by their keys, so that nothing but the run is needed
to know whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import Problem
from tasks.evaluation.judging.sheet_files import (
    BLIND,
    LEFT,
    PREFERRED,
    RIGHT,
    SheetLine,
    raise_problems,
    read_sheet_files,
)
from tasks.records import Answer

TIE = "tie"

_COPY = "copy the ids from the sheet as it came"


@dataclass(frozen=True, slots=True)
class Preference:
    """One person's preference between two answers to one question.

    Attributes:
        left: Key of the answer that stood left.
        right: Key of the other one.
        rater: The column ``rater``, else the file's name.
        preferred: Key of the better answer; empty for a tie, ``None`` where nobody decided.
        blind: Whether the models were still hidden; as far as the sheet says.
    """

    left: str
    right: str
    rater: str
    preferred: str | None
    blind: bool = True


def read_preferences(
    paths: Iterable[str | Path], answers: Mapping[str, Answer]
) -> tuple[Preference, ...]:
    """Read the sheets of pairs among files, globs or folders; ``answers`` are the run's, by key.

    Raises :class:`ConfigError` that lists, with lines: ids that are no answer of this run, pairs
    that are no two models' answers to one question, cells that are neither ``left``, ``right``,
    ``tie`` nor empty, pairs that somebody rated twice, sheets that are none.
    """
    found: list[Preference] = []
    sheets, problems = read_sheet_files(paths)
    first: dict[tuple[frozenset[str], str], str] = {}
    for sheet in sheets:
        strangers = 0
        faults: list[Problem] = []
        for line in sheet.lines if sheet.paired else ():
            item = _read_line(line, sheet.name_rater(line))
            fault = _check_pair(line.where, item, answers) or _check_choice(line)
            if fault is None:
                pair = frozenset((item.left, item.right)), item.rater
                earlier = first.setdefault(pair, line.where)
                if earlier != line.where:
                    what = f"{item.rater} rated these two answers before, at {earlier}"
                    todo = "keep one of the two, or name the raters in a column `rater`"
                    fault = Problem(line.where, what, todo)
            if fault is None:
                found.append(item)
            else:
                faults.append(fault)
                strangers += not {item.left, item.right} <= answers.keys()
        foreign = sheet.explain_strangers(strangers)
        problems += [foreign] if foreign else faults
    raise_problems(problems)
    return tuple(found)


def _read_line(line: SheetLine, rater: str) -> Preference:
    left, right = line.read(LEFT).lower(), line.read(RIGHT).lower()
    chosen = {LEFT: left, RIGHT: right, TIE: ""}.get(line.read(PREFERRED).lower())
    return Preference(left, right, rater, chosen, line.read(BLIND).lower() != "no")


def _check_pair(where: str, item: Preference, answers: Mapping[str, Answer]) -> Problem | None:
    unknown = next((key for key in (item.left, item.right) if key not in answers), None)
    if unknown is not None:
        return Problem(where, f"{unknown[:40]!r} is no answer of this run", _COPY)
    left, right = answers[item.left], answers[item.right]
    if left.question_key != right.question_key:
        return Problem(where, "its answers are to two questions", _COPY)
    if left.model == right.model:
        return Problem(where, f"its answers are both of {left.model}", _COPY)
    return None


def _check_choice(line: SheetLine) -> Problem | None:
    choice = line.read(PREFERRED)
    if choice.lower() in (LEFT, RIGHT, TIE, ""):
        return None
    what = f"{PREFERRED} {choice[:40]!r} is neither left, right nor tie"
    return Problem(line.where, what, "write one of the three, or leave the cell empty")
