"""Checks that the paper's figures add up in our own statistics."""

from __future__ import annotations

import pytest

from tasks.evaluation.measures.published import (
    FULL_QUESTIONS,
    LIGHT_QUESTIONS,
    PERSONAS,
    PublishedRow,
    PublishedSuite,
    as_scores,
    find_published,
    list_published,
)
from tasks.measures.statistics import score_personas


@pytest.mark.parametrize("row", list_published("full"), ids=lambda row: row.model)
def test_published_tasks_average_to_the_published_total(row: PublishedRow) -> None:
    found = score_personas(as_scores(row)).over_personas.mean
    assert found == pytest.approx(row.score, abs=0.01)


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


def test_every_recipe_of_the_paper_has_its_light_score() -> None:
    recipes = [f"ablation-{number}" for number in range(1, 6)] + ["opencharacter"]
    scores = [found.score for name in recipes if (found := find_published("light", name))]
    assert scores == [4.35, 4.37, 4.60, 4.65, 4.66, 4.66]
    assert find_published("full", "ablation-1") is None


def test_questions_are_personas_times_tasks_times_ten_or_one() -> None:
    tasks = len(list_published("full")[0].by_task)
    assert (PERSONAS * tasks * 10, PERSONAS * tasks) == (FULL_QUESTIONS, LIGHT_QUESTIONS)
