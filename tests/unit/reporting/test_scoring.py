"""Checks the tables of scores: what stands where, and that what is missing is said."""

from __future__ import annotations

from dataclasses import replace

from tasks.records import TASKS, Ability
from tasks.reporting.figures import MINUS
from tasks.reporting.sections.claims import correct_claims
from tasks.reporting.sections.scoring import (
    build_ability_table,
    build_attribution_table,
    build_difference_table,
    build_published_table,
    build_score_table,
    build_style_table,
    drop_task_scores,
    list_judges,
    list_models,
    split_comparisons,
    tell_prompts,
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


def test_published_rows_stand_below_and_those_that_are_not_the_runs_step_back() -> None:
    published = [
        PublishedScore("a", "full", "opencharacter", "gpt-4o", "", 4.52, 0.13, "LLaMA", "recipe"),
        PublishedScore("b", "full", "opencharacter", "gpt-4o", TASKS[2], 4.27, 0.25, "LLaMA"),
        PublishedScore("c", "full", "LLaMA", "gpt-4o", "", 4.45, 0.14, "", "backbone"),
        PublishedScore("d", "full", "gpt-4o", "gpt-4o", "", 4.53),
    ]
    table = build_score_table(make_measures(), "judge", published, set_up="The paper: otherwise.")
    assert table.caption == "Judge: judge. The paper: otherwise."
    own, start, other = table.rows[2:]
    assert [row.quiet for row in table.rows] == [False, False, False, False, True]
    assert own.note == "the paper, full, from LLaMA, this run's recipe"
    assert start.note == "the paper, full, what this run's recipe starts from"
    assert other.note == "the paper, full"
    assert read(table, own, "PersonaScore")[0] == "4.52"
    assert read(table, own, "sd")[0] == "0.13"
    assert read(table, own, "Linguistic habits") == ("4.27", "sd 0.25")
    assert read(table, own, "Expected action") == ("–", "")
    assert read(table, other, "sd")[0] == "–"  # a table of before has no deviations
    assert build_score_table(make_measures(), "judge", set_up="Unsaid.").caption == "Judge: judge"


def test_rows_of_the_other_suite_are_said_not_to_be_comparable() -> None:
    published = [PublishedScore("a", "light", "ablation-1", "gpt-4o", "", 4.35, 0.3, "LLaMA")]
    table = build_published_table(published)
    assert table.caption == "The paper's rows on PersonaGym Light, not comparable with those above"
    assert [row.name for row in table.rows] == ["ablation-1"]
    assert not build_published_table(())


def test_prompts_are_told_where_models_answered_under_several() -> None:
    prompts = {"base": "one.j2", "tuned": "one.j2", "base-gym": "PersonaGym's line"}
    assert tell_prompts({"prompts": prompts}) == prompts
    assert tell_prompts({"prompts": {"base": "one.j2", "tuned": "one.j2"}}) == {}
    assert tell_prompts({}) == {}
    rows = build_score_table(make_measures(), "judge", prompts=prompts).rows
    assert [row.note for row in rows] == ["under one.j2", "under one.j2"]
    assert [row.note for row in build_score_table(make_measures(), "judge").rows] == ["", ""]
    clean = make_comparison("persona_score", 0.5)
    paper = replace(clean, against="base-gym")
    judged = [replace(item, judge="judge") for item in (clean, paper)]
    items = [*judged, make_comparison("attribution", 0.5)]
    claims = correct_claims(items)
    rows = build_difference_table(items, claims, prompts).rows
    assert [row.note for row in rows] == [
        "both under one.j2", "under one.j2 and PersonaGym's line", "",
    ]  # fmt: skip
    assert {row.note for row in build_difference_table(judged, claims).rows} == {""}


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


def test_differences_of_a_judge_with_one_rubric_bear_its_name_and_count_once() -> None:
    rubrics = {"weak": "In Character"}
    given = make_comparisons(("judge", "weak"))
    kept = drop_task_scores(given, rubrics)
    assert {item.judge for item in kept if item.name == "score"} == {"judge"}
    claims = correct_claims(kept)
    assert claims == correct_claims(given)  # scores by task are tested by no claim
    rows = build_difference_table(split_comparisons(kept)[0], claims, rubrics=rubrics).rows
    assert [row.cells[0].text for row in rows if row.cells[0].note == "judge: weak"] == [
        "In Character"
    ]
    tasks = [row.cells[0] for row in build_difference_table(kept, claims, rubrics=rubrics).rows]
    assert sum(cell.note == "judge: judge" for cell in tasks) == 1 + len(TASKS)


def test_a_mean_of_nothing_is_a_dash() -> None:
    table = build_score_table(
        [make_measure("persona_score", "base", None, judge="j", sd=None)], "j"
    )
    assert read(table, table.rows[0], "PersonaScore") == ("–", "")


def test_differences_show_all_that_was_measured() -> None:
    items = [make_comparison("attribution", -0.5, missing=3, unmatched=2, p_value=0.0004)]
    items += [make_comparison("profile_gain", 0.1, p_value=0.02)]
    table = build_difference_table(items[:1], correct_claims(items))
    (row,) = table.rows
    assert row.name.split() == ["tuned", MINUS, "base"]
    assert read(table, row, "measure") == ("attribution, random candidates", "")
    assert read(table, row, "difference")[0] == f"{MINUS}50.0 pp"
    assert read(table, row, "95 % interval")[0] == f"{MINUS}60.0 to {MINUS}40.0 pp"
    assert read(table, row, "p")[0] == "< 0.001"
    assert read(table, row, "corrected")[0] == "< 0.001"
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
    rows = build_difference_table(items, correct_claims(items)).rows
    assert [row.cells[1].tone for row in rows] == ["good", "bad", "", "", ""]


def test_a_difference_that_the_correction_takes_is_not_marked() -> None:
    items = [
        make_comparison("persona_score", 0.5, p_value=0.02),
        make_comparison("attribution", 0.5, p_value=0.03),
        make_comparison("profile_gain", 0.5, p_value=0.001),
        make_comparison("score", 0.5, p_value=0.03, task=TASKS[0]),
    ]
    table = build_difference_table(items, correct_claims(items))
    assert [read(table, row, "corrected")[0] for row in table.rows] == [
        "0.040", "0.040", "0.003", "–",
    ]  # fmt: skip
    items[1] = make_comparison("attribution", 0.5, p_value=0.06)
    items[0] = make_comparison("persona_score", 0.5, p_value=0.03)
    table = build_difference_table(items, correct_claims(items))
    assert [read(table, row, "corrected")[0] for row in table.rows] == [
        "0.060", "0.060", "0.003", "–",
    ]  # fmt: skip
    assert [row.cells[1].tone for row in table.rows] == ["", "", "good", "good"]


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
