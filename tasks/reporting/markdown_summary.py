"""Writes the scores as short Markdown, for model cards and workflow artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.text.markdown import escape_markdown
from tasks.reporting.measure_names import name_judge
from tasks.reporting.sections.scoring import (
    NO_RUBRICS,
    build_attribution_table,
    build_difference_table,
    build_score_table,
    drop_task_scores,
    list_judges,
    split_comparisons,
)
from tasks.reporting.tables import Cell, Row, Table
from tasks.scores import Comparison, Measure

_SHOWN = ("models", "measure", "difference", "95 % interval", "p")
"""Columns of a difference that a summary has room for; the others are in the report."""


def summarise_scores(
    measures: Sequence[Measure],
    comparisons: Sequence[Comparison],
    rubrics: Mapping[str, str] = NO_RUBRICS,
) -> str:
    """Return the score tables, attribution and main differences; empty if nothing was scored."""
    measures = drop_task_scores(measures, rubrics)
    sections = []
    for judge in list_judges(measures):
        name = f"Scores, judge: {name_judge(judge)}"
        sections.append((name, build_score_table(measures, judge, rubrics=rubrics)))
    sections.append(("Character attribution", build_attribution_table(measures)))
    main, _ = split_comparisons(comparisons)
    sections.append(("Paired differences", _cut(build_difference_table(main, rubrics))))
    texts = [f"### {escape_markdown(name)}\n\n{_write(table)}" for name, table in sections if table]
    return "\n\n".join(texts) + "\n" if texts else ""


def _cut(table: Table) -> Table:
    kept = [place for place, column in enumerate(table.columns) if column.name in _SHOWN]
    rows = tuple(
        Row(row.name, tuple(row.cells[place - 1] for place in kept[1:])) for row in table.rows
    )
    return Table(tuple(table.columns[place] for place in kept), rows)


def _write(table: Table) -> str:
    heads = [escape_markdown(column.name) for column in table.columns]
    marks = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [heads, marks]
    lines += [[escape_markdown(row.name), *map(_write_cell, row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write_cell(cell: Cell) -> str:
    # Numbers are of our own writing, and escaped ones would be hard to read as plain text.
    text = escape_markdown(cell.text) if cell.kind == "text" else cell.text
    note = cell.note.replace("\n", ", ")
    return f"{text} ({note})" if note else text
