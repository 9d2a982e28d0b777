"""Proves that a budget counts what is spent and stops a run once a bound is reached."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flows.control.budget import BudgetGuard, Spent
from flows.recipe.checks import check_budget
from flows.recipe.opening import open_context
from flows.recipe.settings import BudgetConfig, Settings, load_settings
from infra.engines.batch.allowance import Claim
from infra.errors import InterruptedRun
from infra.progress import JobProgress, StageProgress


def load(tmp_path: Path, *overrides: str) -> Settings:
    return load_settings("configs/demo.yaml", [f"storage.root={tmp_path}", *overrides])


def test_each_bound_is_named_with_its_figure() -> None:
    spent = Spent(tokens=1_500, hours=0.5, usd=3.0)
    assert spent.find_excess(BudgetConfig()) is None
    assert spent.find_excess(BudgetConfig(max_tokens=1_501, max_hours=1, max_cost=4)) is None
    assert "budget.max_tokens: 1,500" in (spent.find_excess(BudgetConfig(max_tokens=1_500)) or "")
    assert "budget.max_hours: 0.50" in (spent.find_excess(BudgetConfig(max_hours=0.5)) or "")
    assert "budget.max_cost: 3.00" in (spent.find_excess(BudgetConfig(max_cost=3.0)) or "")


def test_tokens_of_all_stages_and_of_their_retries_add_up(tmp_path: Path) -> None:
    settings = load(tmp_path, "budget.max_tokens=1000")
    guard = BudgetGuard(settings)
    with open_context(settings, guard) as context:
        guard.run_started("demo", context)
        first = StageProgress("characters", 10, 0, "teacher", prompt_tokens=400)
        guard.stage_progress(first, finished=False)
        first.completion_tokens = 300
        guard.stage_progress(first, finished=False)
        assert not context.stop.is_set()
        again = StageProgress("characters", 10, 5, "teacher", completion_tokens=300)
        guard.stage_progress(again, finished=False)
        assert context.stop.is_set()
    told = "budget.max_tokens: 1,000 of 1,000 tokens; stopped"
    with pytest.raises(InterruptedRun, match=told), guard.explain_stop():
        raise InterruptedRun("stopped in characters")


def test_a_stop_by_somebody_else_keeps_its_own_words(tmp_path: Path) -> None:
    guard = BudgetGuard(load(tmp_path, "budget.max_tokens=1000"))
    with pytest.raises(InterruptedRun, match=r"^stopped by hand$"), guard.explain_stop():
        raise InterruptedRun("stopped by hand")


def test_endpoints_cost_by_the_token_and_ranks_by_the_hour(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "plan.usd_per_engine_hour=3600",
        "models.far={engine: endpoint, model: big, base_url: 'http://127.0.0.1:9/v1'}",
        "plan.usd_per_million_tokens={far: {prompt: 1.0, output: 2.0}}",
        "budget.max_cost=1000",
    )
    guard = BudgetGuard(settings)
    with open_context(settings, guard) as context:
        context.ranks = 2
        guard.run_started("demo", context)
        stage = StageProgress(
            "characters", 1, 0, "far", prompt_tokens=10**6, completion_tokens=10**6
        )
        guard.stage_progress(stage, finished=True)
        assert guard.count(time.monotonic()).usd == pytest.approx(3.0)
        ranks = JobProgress("training", 1, 2, 0.0, None, "")
        guard.stage_progress(ranks, finished=False)
        time.sleep(0.05)
        guard.stage_progress(ranks, finished=False)
        # Two ranks at a dollar a second each.
        assert 3.1 <= guard.count(time.monotonic()).usd < 10


def test_a_bound_on_cost_needs_a_price(tmp_path: Path) -> None:
    bare = load(tmp_path, "budget.max_cost=5")
    (problem,) = check_budget(bare)
    assert "teacher, base" in problem.what
    far = "models.far={engine: endpoint, model: big, base_url: 'http://127.0.0.1:9/v1'}"
    (problem,) = check_budget(
        load(tmp_path, "budget.max_cost=5", "report.usd_per_engine_hour=2", far)
    )
    assert problem.todo == "set plan.usd_per_million_tokens.far"
    assert not check_budget(load(tmp_path, "budget.max_cost=5", "report.usd_per_engine_hour=2"))
    assert not check_budget(load(tmp_path))


def test_what_is_left_is_told_to_who_spends_ahead(tmp_path: Path) -> None:
    far = "models.far={engine: endpoint, model: big, base_url: 'http://127.0.0.1:9/v1', batch: {}}"
    prices = "plan.usd_per_million_tokens={far: {prompt: 1.0, output: 2.0}}"
    assert BudgetGuard(load(tmp_path, far)).find_allowance("far") is None
    settings = load(tmp_path, far, prices, "budget.max_tokens=1000", "budget.max_cost=0.001")
    guard = BudgetGuard(settings)
    spent = StageProgress("characters", 10, 0, "far", prompt_tokens=300, completion_tokens=100)
    guard.stage_progress(spent, finished=False)
    left = guard.find_allowance("far")
    assert left is not None and left.tokens == 600 and left.usd == pytest.approx(0.0005)
    assert left.holds(Claim(100, 200)) and not left.holds(Claim(300, 101))
    assert not left.holds(Claim(500, 101))
    assert left.describe() == "600 tokens and 0.00 USD"


@pytest.mark.parametrize(
    ("bound", "left"), [("budget.max_tokens=1000", (600, None)), ("budget.max_cost=3", (None, 3))]
)
def test_one_bound_alone_is_told_and_a_model_without_a_price_costs_nothing(
    tmp_path: Path, bound: str, left: tuple[int | None, float | None]
) -> None:
    far = "models.far={engine: endpoint, model: big, base_url: 'http://127.0.0.1:9/v1', batch: {}}"
    guard = BudgetGuard(load(tmp_path, far, bound))
    spent = StageProgress("characters", 10, 0, "far", prompt_tokens=300, completion_tokens=100)
    guard.stage_progress(spent, finished=False)
    found = guard.find_allowance("far")
    assert found is not None and (found.tokens, found.usd) == left
    assert found.holds(Claim(500, 100))


def test_tokens_of_who_is_no_endpoint_cost_nothing(tmp_path: Path) -> None:
    """Engines are paid by the hour; a stage may have no model."""
    prices = "plan.usd_per_million_tokens={teacher: {prompt: 1.0, output: 2.0}}"
    guard = BudgetGuard(load(tmp_path, prices))
    for model in ("teacher", ""):
        stage = StageProgress("characters", 1, 0, model, prompt_tokens=10**6)
        guard.stage_progress(stage, finished=True)
    spent = guard.count(time.monotonic())
    assert (spent.tokens, spent.usd) == (2 * 10**6, 0.0)


def test_nothing_but_time_is_spent_before_the_run_starts(tmp_path: Path) -> None:
    guard = BudgetGuard(load(tmp_path, "plan.usd_per_engine_hour=3600"))
    spent = guard.count(time.monotonic())
    assert (spent.tokens, spent.usd) == (0, 0.0)
    assert spent.hours >= 0
