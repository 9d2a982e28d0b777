"""Checks that a run is held to bounds: which differences, in which unit, with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.look.comparing import compare_runs
from flows.look.gates import GateFailed, GateOutcome, read_gates
from infra.errors import ConfigError
from infra.store.storage import Storage
from tests.unit.flows.evaluated import evaluate_run, write_run
from tests.unit.flows.worlds import make_config, write_config
from tests.unit.told.situations import Told, say

BEFORE: list[float | None] = [2.0, 3.0, 2.0, 3.0, 2.0, 3.0]
AFTER: list[float | None] = [4.0, 5.0, 5.0, 4.0, 4.0, 5.0]
"""Above by 2, 2, 3, 1, 2, 2: 2 points, from 1.336 on by Student's t with five degrees."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


@pytest.fixture
def runs(storage: Storage) -> tuple[str, str]:
    """Return two runs, whose base models are alike and whose tuned ones are not."""
    return (
        evaluate_run(storage, "one", {"base": BEFORE, "tuned": BEFORE}),
        evaluate_run(storage, "two", {"base": BEFORE, "tuned": AFTER}),
    )


def hold(runs: tuple[str, str], *gates: str) -> list[GateOutcome]:
    return list(compare_runs(*runs, gates=read_gates(gates)).gates)


def find_problem(runs: tuple[str, str], *gates: str) -> str:
    with pytest.raises(ConfigError) as caught:
        hold(runs, *gates)
    return str(caught.value)


@pytest.mark.parametrize(("bound", "passed"), [("0", True), ("1.33", True), ("1.34", False)])
def test_the_lower_end_of_the_tuned_models_difference_is_held_to_the_bound(
    runs: tuple[str, str], bound: str, passed: bool
) -> None:
    (outcome,) = hold(runs, f"persona_score={bound}")
    assert (outcome.model, outcome.against, outcome.judge) == ("B:tuned", "A:tuned", "judge")
    assert outcome.difference == 2.0
    assert outcome.low == pytest.approx(1.3362, abs=1e-3)
    assert outcome.passed == passed


def test_a_bound_is_in_the_measures_own_unit(runs: tuple[str, str]) -> None:
    (outcome,) = hold(runs, "attribution=5")
    assert outcome.difference == pytest.approx(40)
    assert outcome.unit == "percentage points"
    assert outcome.passed and 7 < outcome.low < 9
    assert not hold(runs, "attribution=10")[0].passed


def test_a_gate_may_name_another_model_and_a_task(runs: tuple[str, str]) -> None:
    base, task = hold(runs, "persona_score@base=-1", "score:linguistic_habits@tuned=1.5")
    assert (base.model, base.difference, base.passed) == ("B:base", 0.0, True)
    assert (task.task, task.passed) == ("linguistic_habits", False)


def test_one_line_says_all_of_a_gate(runs: tuple[str, str]) -> None:
    (outcome,) = hold(runs, "persona_score=0.5")
    assert str(outcome) == (
        "gate persona score by judge: B:tuned \u2212 A:tuned +2 points, "
        "95 % interval +1.336 … +2.664, bound 0.5: passed"
    )


def test_of_one_model_alone_nobody_needs_to_say_which(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"teacher": BEFORE})
    two = evaluate_run(storage, "two", {"teacher": AFTER})
    assert hold((one, two), "persona_score=0")[0].model == "B:teacher"


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("persona_score", "is no measure=number"),
        ("persona_score=high", "is no measure=number"),
        ("persona_score=nan", "is no measure=number"),
        ("=0", "is no measure=number"),
        ("personascore=0", "no such measure → take one of persona_score, score,"),
        ("distinct_2=0", "has no interval"),
        ("score=0", "name one after a colon: linguistic_habits"),
        ("score:toxicity_control=0", "name one after a colon: linguistic_habits"),
        ("attribution:expected_action=0", "not measured in both runs"),
        ("persona_score@teacher=0", "no model teacher in both runs → persona_score@"),
    ],
)
def test_a_gate_that_nothing_can_be_held_to_is_wrong_use(
    runs: tuple[str, str], gate: str, words: str
) -> None:
    assert words in find_problem(runs, "persona_score=0", gate)


def test_all_wrong_gates_are_told_at_once(runs: tuple[str, str]) -> None:
    told = find_problem(runs, "one=0", "persona_score=0", "two=0")
    assert "--fail-below one=0" in told and "--fail-below two=0" in told


def test_which_of_several_models_has_to_be_said(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": BEFORE, "other": BEFORE})
    told = find_problem((one, one), "persona_score=0")
    assert "which model of both runs? → persona_score@base=…, persona_score@other=…" in told


def test_runs_that_share_too_little_are_wrong_use(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": BEFORE})
    other = evaluate_run(storage, "other", {"base": BEFORE}, first=100)
    assert "the runs share no row of base" in find_problem((one, other), "persona_score=0")
    single = evaluate_run(storage, "single", {"base": [2.0]})
    assert "1 persona has no interval" in find_problem((single, single), "persona_score=0")
    empty = write_run(storage, "empty", [])
    assert "was not measured in both runs" in find_problem((one, empty), "persona_score=0")
    tuned = evaluate_run(storage, "tuned", {"tuned": BEFORE})
    assert "the runs share no model" in find_problem((one, tuned), "persona_score=0")


def compare(capsys: pytest.CaptureFixture[str], runs: tuple[str, str], *options: str) -> Told:
    return say(capsys, "compare", *runs, *options)


def test_the_exit_code_is_the_gates(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(capsys, runs).code == 0
    passed = compare(capsys, runs, "--fail-below", "persona_score=0")
    assert passed.code == 0 and "bound 0: passed" in passed.text
    failed = compare(
        capsys, runs, "--fail-below", "persona_score=0", "--fail-below", "attribution=50"
    )
    assert failed.code == 1
    assert "bound 0: passed" in failed.text and "bound 50: failed" in failed.text
    assert "GateFailed: 1 of 2 gates failed" in failed.text
    wrong = compare(capsys, runs, "--fail-below", "personascore=0")
    assert wrong.code == 2 and "no such measure" in wrong.text


def test_json_carries_the_gates(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    told = compare(capsys, runs, "--json", "--fail-below", "persona_score=3")
    assert told.code == 1
    (gate,) = json.loads(told.lines[0])["gates"]
    assert (gate["measure"], gate["bound"], gate["passed"]) == ("persona_score", 3.0, False)
    assert gate["low"] < gate["difference"] < gate["high"]


def test_the_deployment_holds_the_run_of_a_recipe_to_its_baseline(
    storage: Storage, runs: tuple[str, str], tmp_path: Path
) -> None:
    from flows.deployments import gate
    from flows.parameters import Gates, Recipe

    config = str(write_config(tmp_path, make_config(tmp_path)))
    recipe = Recipe(config=config, name="two", root=storage.root)
    found = gate.fn(recipe, Gates(baseline="one"))
    assert [(item.measure, item.passed) for item in found.gates] == [("persona_score", True)]
    strict = Gates(baseline="one", fail_below=("persona_score=0", "attribution=50"))
    with pytest.raises(GateFailed, match="1 of 2 gates failed"):
        gate.fn(recipe, strict)
