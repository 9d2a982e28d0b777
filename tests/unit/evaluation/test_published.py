"""Checks that the paper's figures add up in our own statistics, and that a run knows its own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.measures.published import (
    EVERY,
    FULL_QUESTIONS,
    JUDGE,
    LIGHT_QUESTIONS,
    PERSONAS,
    PublishedRow,
    PublishedSuite,
    as_scores,
    describe_set_up,
    find_published,
    list_published,
    list_published_scores,
    list_recipes,
    name_published,
)
from tasks.measures.statistics import score_personas
from tasks.records import TASKS

ROWS = (*list_published("full"), *list_published("light"))


def configure(**knobs: Any) -> EvaluationConfig:
    questions = {"suite": "personagym", "path": "gym", **knobs.pop("questions", {})}
    return EvaluationConfig.model_validate(
        {"judges": [{"model": "judge", "prompts": "personagym"}], **knobs, "questions": questions}
    )


def test_the_paper_has_nine_rows_on_the_full_set_and_eighteen_on_light() -> None:
    assert len(ROWS) == 27
    assert Counter(row.suite for row in ROWS) == {"full": 9, "light": 18}
    assert Counter(row.base for row in ROWS if row.recipe) == {
        "LLaMA-3-8B-Instruct": 2 + 6,
        "LLaMA-3-8B": 2 + 6,
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.suite}-{row.model}")
def test_published_tasks_average_to_the_published_total(row: PublishedRow) -> None:
    assert [task for task, _ in row.by_task] == list(TASKS)
    found = score_personas(as_scores(row)).over_personas.mean
    assert found == pytest.approx(row.score, abs=0.01)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.suite}-{row.model}")
def test_a_mean_over_tasks_spreads_less_than_the_tasks_it_is_made_of(row: PublishedRow) -> None:
    """A figure in the wrong column would break this: means lie above 3, deviations below 1."""
    spreads = [value for _, value in row.deviations]
    assert [task for task, _ in row.deviations] == list(TASKS)
    assert 0 < row.deviation < max(spreads) < 1


def test_ten_questions_a_task_spread_less_than_one() -> None:
    light = {row.model: row for row in list_published("light")}
    for row in list_published("full"):
        assert row.deviation < light[row.model].deviation


def test_the_gain_over_the_backbone_is_toxicity_and_habits_only() -> None:
    tuned = find_published("full", "opencharacter")
    assert tuned is not None
    base = next(row for row in list_published("full") if row.model == tuned.base)
    gains = {task: round(value - dict(base.by_task)[task], 2) for task, value in tuned.by_task}
    assert {task: gain for task, gain in gains.items() if gain > 0.01} == {
        "toxicity_control": 0.20,
        "linguistic_habits": 0.22,
    }


@pytest.mark.parametrize("suite", ["full", "light"])
def test_rows_are_of_their_suite_and_on_the_scale(suite: PublishedSuite) -> None:
    rows = list_published(suite)
    assert len({row.model for row in rows}) == len(rows)
    for row in rows:
        assert row.suite == suite
        assert all(1 <= value <= 5 for value in (row.score, *dict(row.by_task).values()))
        assert (row.recipe is None) == (row.base is None)


def test_every_recipe_of_the_paper_has_its_light_score_from_both_backbones() -> None:
    recipes = [f"ablation-{number}" for number in range(1, 6)] + ["opencharacter"]
    assert list_recipes() == sorted([*recipes, *(f"{name}-base" for name in recipes)])
    scores = [found.score for name in recipes if (found := find_published("light", name))]
    assert scores == [4.35, 4.37, 4.60, 4.65, 4.66, 4.66]
    scores = [found.score for name in recipes if (found := find_published("light", f"{name}-base"))]
    assert scores == [4.23, 4.21, 4.53, 4.62, 4.64, 4.61]


def test_the_fifth_ablation_was_measured_in_full_and_the_others_were_not() -> None:
    found = {name: find_published("full", name) for name in list_recipes()}
    scores = {name: row.score for name, row in found.items() if row is not None}
    assert scores == {
        "ablation-5": 4.50, "ablation-5-base": 4.48, "opencharacter": 4.52,
        "opencharacter-base": 4.46,
    }  # fmt: skip


def test_questions_are_personas_times_tasks_times_ten_or_one() -> None:
    assert PERSONAS * len(TASKS) * 10 == FULL_QUESTIONS
    assert PERSONAS * len(TASKS) == LIGHT_QUESTIONS


@pytest.mark.parametrize(
    ("recipe", "light", "marked"),
    [
        ("ablation-5", False, {("full", "ablation-5"), ("light", "ablation-5")}),
        ("ablation-1", True, {("light", "ablation-1")}),
        ("opencharacter-base", True, {("light", "opencharacter-base"),
                                      ("full", "opencharacter-base")}),
        (EVERY, True, set()),
    ],
)  # fmt: skip
def test_all_rows_are_shown_and_those_of_the_recipe_are_marked(
    recipe: str, light: bool, marked: set[tuple[str, str]]
) -> None:
    shown = list(list_published_scores(recipe, light=light))
    assert len({item.key for item in shown}) == len(shown) == 27 * (len(TASKS) + 1)
    assert shown[0].suite == ("light" if light else "full")
    own = {(item.suite, item.model) for item in shown if item.mark == "recipe"}
    assert own == marked
    start = {item.model for item in shown if item.mark == "backbone"}
    has_row = recipe != EVERY and not recipe.endswith("-base")
    assert start == ({"LLaMA-3-8B-Instruct"} if has_row else set())
    ablation = {item.task: item for item in shown if item.model == "ablation-3"}
    assert (ablation[""].value, ablation[""].sd) == (4.60, 0.26)
    assert (ablation["linguistic_habits"].value, ablation["linguistic_habits"].sd) == (3.89, 0.71)
    assert ablation[""].base == "LLaMA-3-8B-Instruct"


def test_what_is_shown_is_named_by_its_figures_and_nothing_is_as_it_was() -> None:
    assert name_published(None) is None
    one, other = name_published("ablation-1"), name_published("ablation-2")
    assert one is not None and one.startswith("ablation-1 ") and one != other


def test_the_line_on_set_ups_tells_what_differs_and_nothing_else() -> None:
    paper = configure(
        models=["base", "tuned", {"role": "base", "prompt": "personagym"}],
        questions={"light": False},
    )
    told = describe_set_up(paper, [JUDGE])
    assert "(here: tuned with base-personagym)" in told
    assert "each verdict one JSON object" in told and "deviations of a sample" in told
    ours = told.rpartition("Ours differ:")[2]
    for same in ("judged by", "temperature", "tokens", "personas", "our words", "example"):
        assert same not in ours, same
    other = configure(
        judges=[{"model": "judge", "structured": False, "examples": None}],
        answers={"temperature": 0.5, "max_new_tokens": 64},
        questions={"personas": 20},
    )
    told = describe_set_up(other, ["a-judge"])
    assert "(here: no pair)" in told and "JSON" not in told
    for differs in (
        "judged by a-judge", "our words", "no example replies", "temperature 0.5", "64 tokens",
        "20 personas",
    ):  # fmt: skip
        assert differs in told.rpartition("Ours differ:")[2], differs
