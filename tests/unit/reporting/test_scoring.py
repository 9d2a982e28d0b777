"""Checks the tables of scores: what stands where, and that what is missing is said."""

from __future__ import annotations

from tasks.records import TASKS, Ability
from tasks.reporting.figures import MINUS
from tasks.reporting.sections.scoring import (
    build_ability_table,
    build_attribution_table,
    build_difference_table,
    build_score_table,
    build_style_table,
    drop_task_scores,
    is_clear,
    list_judges,
    list_models,
    split_comparisons,
)
from tasks.reporting.tables import Row, Table
from tasks.scores import PANEL, PublishedScore

from .worlds import make_comparison, make_comparisons, make_measure, make_measures


def read(table: Table, row: Row, column: str) -> tuple[str, str]:
    cell = row.cells[[item.name for item in table.columns].index(column) - 1]
    return cell.text, cell.note


def test_models_and_judges_stand_in_a_fixed_order() -> None:
    measures = [
        make_measure("persona_score", model, 3.0, judge=judge)
        for model in ("other", "tuned", "another", "base")
        for judge in ("b", PANEL, "a")
    ]
    assert list_models(measures) == ("base", "tuned", "another", "other")
    assert list_judges(measures) == (PANEL, "a", "b")
    assert list_judges([make_measure("attribution", "base", 0.2)]) == ()


def test_the_score_table_shows_means_intervals_spread_and_missing_verdicts() -> None:
    table = build_score_table(make_measures(("judge", "weak")), "judge")
    base, tuned = table.rows
    assert (base.name, tuned.name) == ("base", "tuned")
    assert read(table, tuned, "PersonaScore") == ("3.90", "3.80 to 4.00")
    assert read(table, tuned, "sd") == ("0.40", "")
    assert read(table, tuned, "Expected action") == ("3.60", "3.40 to 3.80")
    assert read(table, tuned, "Toxicity control") == ("3.75", "3.55 to 3.95\n1 missing")
    assert read(table, tuned, "personas") == ("44", "")
    assert read(table, tuned, "missing") == (str(0 + 1 + 2 + 3 + 4), "")


def test_a_table_without_task_scores_counts_the_missing_of_the_total() -> None:
    measures = [make_measure("persona_score", "base", 3.0, judge="j", missing=7)]
    table = build_score_table(measures, "j")
    assert [column.name for column in table.columns] == [
        "model", "PersonaScore", "sd", "personas", "missing",
    ]  # fmt: skip
    assert read(table, table.rows[0], "missing") == ("7", "")


def test_published_rows_stand_below_and_step_back() -> None:
    published = [
        PublishedScore("a", "full", "OpenCharacter", "gpt-4o", "", 4.52),
        PublishedScore("b", "full", "OpenCharacter", "gpt-4o", TASKS[2], 4.27),
        PublishedScore("c", "light", "OpenCharacter", "gpt-4o", "", 4.66),
    ]
    table = build_score_table(make_measures(), "judge", published)
    full, light = table.rows[2:]
    assert full.quiet and not table.rows[0].quiet
    assert full.note == "the paper, full, judge gpt-4o"
    assert read(table, full, "PersonaScore")[0] == "4.52"
    assert read(table, full, "Linguistic habits")[0] == "4.27"
    assert read(table, full, "Expected action")[0] == "–"
    assert read(table, light, "PersonaScore")[0] == "4.66"


def test_scores_by_task_of_a_judge_with_one_rubric_are_left_out() -> None:
    rubrics = {"weak": "In Character"}
    measures = drop_task_scores(make_measures(("judge", "weak")), rubrics)
    assert {item.judge for item in measures if item.name == "score"} == {"judge"}
    table = build_score_table(measures, "weak", rubrics=rubrics)
    assert [column.name for column in table.columns] == [
        "model", "In Character", "sd", "personas", "missing",
    ]  # fmt: skip
    assert read(table, table.rows[1], "In Character")[0] == "3.90"
    assert table.caption == "Judge: weak, by one rubric for all tasks"
    other = build_score_table(measures, "judge", rubrics=rubrics)
    assert other == build_score_table(make_measures(("judge",)), "judge")


def test_a_mean_of_nothing_is_a_dash() -> None:
    table = build_score_table(
        [make_measure("persona_score", "base", None, judge="j", sd=None)], "j"
    )
    assert read(table, table.rows[0], "PersonaScore") == ("–", "")


def test_differences_show_all_that_was_measured() -> None:
    table = build_difference_table([make_comparison("attribution", -0.5, missing=3, unmatched=2)])
    (row,) = table.rows
    assert row.name.split() == ["tuned", MINUS, "base"]
    assert read(table, row, "measure") == ("attribution, random candidates", "")
    assert read(table, row, "difference")[0] == f"{MINUS}50.0 pp"
    assert read(table, row, "95 % interval")[0] == f"{MINUS}60.0 to {MINUS}40.0 pp"
    assert read(table, row, "p")[0] == "< 0.001"
    assert read(table, row, "detectable")[0] == "12.0 pp"
    counted = ("pairs", "personas", "missing", "unmatched")
    assert [read(table, row, name)[0] for name in counted] == ["120", "44", "3", "2"]


def test_only_a_clear_difference_of_what_matters_is_marked() -> None:
    items = [
        make_comparison("persona_score", 0.5),
        make_comparison("persona_score", -0.5),
        make_comparison("persona_score", 0.05),
        make_comparison("words", 5.0),
        make_comparison("score", None),
    ]
    assert [is_clear(item) for item in items] == [True, True, False, True, False]
    tones = [row.cells[1].tone for row in build_difference_table(items).rows]
    assert tones == ["good", "bad", "", "", ""]


def test_comparisons_are_split_by_what_models_are_trained_for() -> None:
    main, other = split_comparisons(list(reversed(make_comparisons())))
    assert [item.name for item in main] == ["persona_score", "attribution", "attribution_hard"]
    assert [(item.name, item.task) for item in other] == [
        *(("score", task) for task in TASKS), ("words", ""),
    ]  # fmt: skip


def test_attribution_stands_beside_chance() -> None:
    table = build_attribution_table(make_measures())
    cells = [cell.text for cell in table.rows[1].cells]
    assert cells == ["81.0 %", "12.5 %", "76.0 %", "25.0 %", "0.203", "0.405", "120", "44"]
    assert table.rows[1].cells[0].note == "75.0 to 87.0 %"


def test_style_shows_only_what_was_counted() -> None:
    table = build_style_table(make_measures())
    assert [row.name for row in table.rows] == [
        "words an answer", "distinct-2", "refusals", "ends by itself",
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[1].cells] == ["0.412", "0.412"]
    assert table.rows[1].cells[0].note == ""


def test_abilities_stand_side_by_side_and_a_gap_is_a_dash() -> None:
    abilities = [
        Ability("1", "tuned", "arc", "acc", 0.5, 0.01, 100),
        Ability("2", "base", "arc", "acc", 0.52, None, 100),
        Ability("3", "tuned", "zoo", "ppl", 12.0, 0.1, 100),
    ]
    table = build_ability_table(abilities)
    assert [column.name for column in table.columns] == ["task", "base", "tuned"]
    assert [(cell.text, cell.note) for cell in table.rows[0].cells] == [
        ("0.520", ""), ("0.500", "± 0.010"),
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[1].cells] == ["–", "12.000"]
