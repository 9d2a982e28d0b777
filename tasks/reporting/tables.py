"""Describes the tables of the page: rows of cells that are already text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

CellKind = Literal["number", "text", "key"]
"""Numbers stand right, texts left; a key is shown short, its whole text can be copied."""

Tone = Literal["", "good", "bad", "soft"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, smaller lines below it, and what hovering shows."""

    text: str
    note: str = ""
    hover: str = ""
    kind: CellKind = "number"
    tone: Tone = ""
    link: str = ""
    """Where on the page the rows are that it was reckoned from; empty if nowhere."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; ``name`` heads it, ``note`` stands below the name."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    quiet: bool = False
    """Whether it is not of this run (a published figure, a sum) and steps back."""
    link: str = ""
    """Where on the page more is told of what its name names."""
    anchor: str = ""
    """What links call it by."""


@dataclass(frozen=True, slots=True)
class Column:
    """Head of a column."""

    name: str
    kind: CellKind = "number"
    hover: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Table of the page; its first column holds the rows' names."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""

    def __bool__(self) -> bool:
        """Tell whether there is anything to show."""
        return bool(self.rows)


def name_columns(*names: str | Column) -> tuple[Column, ...]:
    """Return columns of numbers, the first of texts, by their names."""
    return tuple(
        name if isinstance(name, Column) else Column(name, "number" if place else "text")
        for place, name in enumerate(names)
    )


def drop_empty_columns(table: Table, optional: Sequence[str]) -> Table:
    """Return the table without those of the named columns in which no cell says anything."""
    kept = [
        place
        for place, column in enumerate(table.columns)
        if place == 0
        or column.name not in optional
        or any(row.cells[place - 1].text not in ("", "0", "–") for row in table.rows)
    ]
    return Table(
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(
            replace(row, cells=tuple(row.cells[place - 1] for place in kept[1:]))
            for row in table.rows
        ),
        caption=table.caption,
    )
