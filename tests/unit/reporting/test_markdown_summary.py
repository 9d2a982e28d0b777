"""Checks the short Markdown of the scores."""

from __future__ import annotations

from tasks.reporting.figures import MINUS
from tasks.reporting.markdown_summary import summarise_scores

from .worlds import make_comparison, make_comparisons, make_measure, make_measures


def test_scores_attribution_and_differences_are_tables() -> None:
    text = summarise_scores(make_measures(), make_comparisons())
    heads = [line for line in text.split("\n") if line.startswith("#")]
    assert heads == [
        "### Scores, judge: judge", "### Character attribution", "### Paired differences",
    ]  # fmt: skip
    assert "| tuned | 3.90 (3.80 to 4.00) | 0.40 | 3.60 (3.40 to 3.80) |" in text
    pair = f"tuned\N{NO-BREAK SPACE}{MINUS}\N{NO-BREAK SPACE}base"
    assert (
        f"| {pair} | PersonaScore (judge: judge) | +1.80 | +1.70 to +1.90 | < 0.001 | 0.001 |"
        in text
    )
    tables = [block.split("\n") for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for lines in tables:
        assert len({line.count("|") for line in lines if line}) == 1


def test_what_was_not_measured_is_left_out() -> None:
    assert summarise_scores([], []) == ""
    only = summarise_scores([make_measure("attribution", "base", 0.2)], [])
    assert only.count("###") == 1 and "20.0 %" in only


def test_names_are_never_markup() -> None:
    text = summarise_scores(
        [make_measure("persona_score", "a|b<i>", 3.0, judge="[x](y)")],
        [make_comparison("persona_score", 1.0, model="*m*")],
    )
    for sign in ("a|b", "<i>", "[x]", "*m*"):
        assert sign not in text
