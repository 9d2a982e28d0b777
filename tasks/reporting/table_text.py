"""Writes tables as text: for a terminal and as Markdown. The page has its own way, in HTML."""

from __future__ import annotations

from rich import table as terminal
from rich.text import Text

from infra.text.markdown import escape_markdown
from tasks.reporting.tables import Cell, Table


def write_markdown(table: Table) -> str:
    """Return a table as Markdown, without the notes below its rows' names."""
    heads = [escape_markdown(column.name) for column in table.columns]
    marks = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [heads, marks]
    lines += [[escape_markdown(row.name), *map(_write_cell, row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lay_out(table: Table) -> terminal.Table:
    """Return a table as Rich prints it: without lines, numbers to the right."""
    grid = terminal.Table(box=None, pad_edge=False)
    for column in table.columns:
        grid.add_column(Text(column.name), justify="right" if column.kind == "number" else "left")
    for row in table.rows:
        grid.add_row(Text(row.name), *(Text(_join_note(cell.text, cell)) for cell in row.cells))
    return grid


def _write_cell(cell: Cell) -> str:
    # Numbers are of our own writing, and escaped ones would be hard to read as plain text.
    return _join_note(escape_markdown(cell.text) if cell.kind == "text" else cell.text, cell)


def _join_note(text: str, cell: Cell) -> str:
    note = cell.note.replace("\n", ", ")
    return f"{text} ({note})" if note else text
