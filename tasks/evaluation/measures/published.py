"""Holds the paper's PersonaGym figures, to stand beside ours in the report.

Source: arXiv 2501.15427v2. Everything was judged by gpt-4o-2024-08-06 on answers sampled at
temperature 0.9; scores run from 1 to 5 and higher is better. The full set has ten questions a
persona and task, Light the first of each, and the two are not comparable with one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.measures.statistics import Score
from tasks.records import EvalTask

PublishedSuite = Literal["full", "light"]

JUDGE = "gpt-4o-2024-08-06"
PERSONAS = 200
FULL_QUESTIONS = 10_000
LIGHT_QUESTIONS = 1_000

_BASE = "LLaMA-3-8B-Instruct"
_LARGE = "LLaMA-3-70B-Instruct"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One model's published result.

    Attributes:
        recipe: The paper's recipe that trained it, under our name; ``None`` for models that the
            paper only compares with.
        base: The model it was trained from; ``None`` if it was not trained by the paper.
        by_task: Mean score a task; empty where the paper gives the total only.
        score: Published PersonaScore, rounded by the paper.
    """

    model: str
    suite: PublishedSuite
    recipe: str | None
    base: str | None
    by_task: tuple[tuple[EvalTask, float], ...]
    score: float


def list_published(suite: PublishedSuite) -> tuple[PublishedRow, ...]:
    """Return the published rows of a suite, in the paper's order."""
    return _full() if suite == "full" else _light()


def find_published(suite: PublishedSuite, recipe: str) -> PublishedRow | None:
    """Return the published result of one of the paper's recipes, or ``None``."""
    return next((row for row in list_published(suite) if row.recipe == recipe), None)


def as_scores(row: PublishedRow) -> list[Score]:
    """Return a row's task means as the scores of one persona, for our own statistics."""
    return [Score(f"{row.model}/{task}", row.model, task, value) for task, value in row.by_task]


def _full() -> tuple[PublishedRow, ...]:
    return (
        _row(JUDGE, (4.55, 4.97, 3.80, 4.72, 4.64), 4.53),
        _row(_BASE, (4.52, 4.58, 4.05, 4.54, 4.57), 4.45),
        _row(_LARGE, (4.59, 4.59, 4.33, 4.72, 4.64), 4.58),
        _row("OpenCharacter", (4.47, 4.78, 4.27, 4.51, 4.58), 4.52, "opencharacter"),
    )


def _light() -> tuple[PublishedRow, ...]:
    return (
        _row(JUDGE, (), 4.60),
        _row(_BASE, (), 4.62),
        _row(_LARGE, (), 4.72),
        _row("ablation-1", (), 4.35, "ablation-1"),
        _row("ablation-2", (), 4.37, "ablation-2"),
        _row("ablation-3", (), 4.60, "ablation-3"),
        _row("ablation-4", (), 4.65, "ablation-4"),
        _row("ablation-5", (), 4.66, "ablation-5"),
        _row("OpenCharacter", (), 4.66, "opencharacter"),
    )


def _row(
    model: str, means: tuple[float, ...], score: float, recipe: str | None = None
) -> PublishedRow:
    tasks: tuple[EvalTask, ...] = (
        "expected_action",
        "toxicity_control",
        "linguistic_habits",
        "persona_consistency",
        "action_justification",
    )
    by_task = tuple(zip(tasks, means, strict=True)) if means else ()
    base = None if recipe is None else _BASE
    suite: PublishedSuite = "full" if means else "light"
    return PublishedRow(model, suite, recipe, base, by_task, score)
