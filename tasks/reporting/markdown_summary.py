"""Writes the scores as short Markdown, for model cards and workflow artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.text.markdown import escape_markdown
from tasks.reporting.measure_names import name_judge
from tasks.reporting.sections.claims import correct_claims
from tasks.reporting.sections.scoring import (
    NO_RUBRICS,
    build_attribution_table,
    build_difference_table,
    build_score_table,
    drop_task_scores,
    list_judges,
    split_comparisons,
)
from tasks.reporting.table_text import write_markdown
from tasks.reporting.tables import Row, Table
from tasks.scores import Comparison, Measure

_SHOWN = ("models", "measure", "difference", "95 % interval", "p", "corrected")
"""Columns of a difference that a summary has room for; the others are in the report."""


def summarise_scores(
    measures: Sequence[Measure],
    comparisons: Sequence[Comparison],
    rubrics: Mapping[str, str] = NO_RUBRICS,
) -> str:
    """Return the score tables, attribution and main differences; empty if nothing was scored."""
    measures = drop_task_scores(measures, rubrics)
    comparisons = drop_task_scores(comparisons, rubrics)
    sections = []
    for judge in list_judges(measures):
        name = f"Scores, judge: {name_judge(judge)}"
        sections.append((name, build_score_table(measures, judge, rubrics=rubrics)))
    sections.append(("Character attribution", build_attribution_table(measures)))
    main, _ = split_comparisons(comparisons)
    claims = correct_claims(comparisons)
    sections.append(
        ("Paired differences", _cut(build_difference_table(main, claims, rubrics=rubrics)))
    )
    texts = [
        f"### {escape_markdown(name)}\n\n{write_markdown(table)}"
        for name, table in sections
        if table
    ]
    return "\n\n".join(texts) + "\n" if texts else ""


def _cut(table: Table) -> Table:
    kept = [place for place, column in enumerate(table.columns) if column.name in _SHOWN]
    rows = tuple(
        Row(row.name, tuple(row.cells[place - 1] for place in kept[1:])) for row in table.rows
    )
    return Table(tuple(table.columns[place] for place in kept), rows)
