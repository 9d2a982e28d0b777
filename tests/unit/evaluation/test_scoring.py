"""Proves that the score table holds every measure once, and compares models on the same rows."""

from __future__ import annotations

import pytest

from tasks.evaluation.measures.scoring import choose_headline, compare_models, measure_models
from tasks.measures.evidence import Evidence
from tasks.records import Ability, Answer, Attribution, EvalTask, Judgement
from tasks.scores import PANEL, Comparison, Measure

TASKS: tuple[EvalTask, ...] = ("expected_action", "toxicity_control")
PERSONAS = [f"p{number}" for number in range(8)]


def judge(judge: str, model: str, persona: str, task: EvalTask, score: float | None) -> Judgement:
    question = f"{persona}-{task}"
    return Judgement(
        f"{judge}-{model}-{question}", f"{model}-{question}", question, persona, task, model, judge,
        score, "",
    )  # fmt: skip


def answer(model: str, persona: str, task: EvalTask, text: str) -> Answer:
    question = f"{persona}-{task}"
    return Answer(f"{model}-{question}", question, persona, f"A {persona}.", task, model, "Why?",
                  text, truncated=False)  # fmt: skip


def attribute(model: str, persona: str, credit: float, gain: float) -> Attribution:
    return Attribution(
        f"{model}-{persona}", f"x-{persona}", f"c-{persona}", persona, model, 10, -10.0, -12.0,
        ("c1", "c2", "c3"), (-11.0, -12.0, -13.0), credit, ("c1",), (-11.0,), credit, gain, 0.1,
    )  # fmt: skip


def gather(*, judges: tuple[str, ...] = ("strict",), missing: int = 0) -> Evidence:
    scores = {"base": 2.0, "tuned": 4.0}
    offsets = {"strict": 0.0, "mild": 1.0}
    verdicts = [
        judge(name, model, persona, task, score + offsets[name] + 0.1 * number)
        for name in judges
        for model, score in scores.items()
        for number, persona in enumerate(PERSONAS)
        for task in TASKS
    ]
    for place in range(missing):
        row = verdicts[place]
        verdicts[place] = judge(row.judge, row.model, row.persona_key, row.task, None)
    return Evidence(
        models=("base", "tuned"),
        judges=judges,
        judgements=tuple(verdicts),
        answers={
            model: [answer(model, persona, task, f"{model} speaks of {persona}")
                    for persona in PERSONAS for task in TASKS]
            for model in scores
        },
        attributions={
            "base": [attribute("base", persona, 0.25, 0.0) for persona in PERSONAS],
            "tuned": [attribute("tuned", persona, 1.0, 0.2) for persona in PERSONAS],
        },
        abilities=(
            Ability("a", "base", "sums", "acc", 0.5, 0.03, 100),
            Ability("b", "tuned", "sums", "acc", 0.4, 0.04, 100),
        ),
    )  # fmt: skip


def find(rows: list[Measure], name: str, model: str, judge: str = "", task: str = "") -> Measure:
    (found,) = [
        row
        for row in rows
        if (row.name, row.model, row.judge, row.task) == (name, model, judge, task)
    ]
    return found


def compare(evidence: Evidence) -> dict[tuple[str, str, str], Comparison]:
    rows = compare_models(evidence)
    return {(row.name, row.judge, row.task): row for row in rows}


def test_a_model_is_measured_by_every_judge_and_task() -> None:
    rows = measure_models(gather(), seed=1)
    assert len({row.key for row in rows}) == len(rows)
    overall = find(rows, "persona_score", "base", "strict")
    assert overall.mean == pytest.approx(2.35)
    assert (overall.rows, overall.clusters, overall.missing) == (8, 8, 0)
    task = find(rows, "score", "tuned", "strict", "toxicity_control")
    assert task.mean == pytest.approx(4.35)


def test_differences_are_of_the_same_rows_and_lie_clear_of_nought_where_they_are() -> None:
    found = compare(gather())
    gain = found["persona_score", "strict", ""]
    assert (gain.model, gain.against) == ("tuned", "base")
    # All eight personas gain alike, which says no more than a sign test: p = 2 / 2 ** 8.
    assert (gain.low, gain.mean, gain.high) == pytest.approx((0.7165, 2.0, 3.2835), abs=1e-4)
    assert gain.p_value == pytest.approx(1 / 128)
    attribution = found["attribution", "", ""]
    assert attribution.mean == pytest.approx(0.75)


def test_several_judges_make_a_panel_and_one_makes_none() -> None:
    alone = measure_models(gather(), seed=1)
    assert PANEL not in {row.judge for row in alone}
    rows = measure_models(gather(judges=("strict", "mild")), seed=1)
    assert find(rows, "persona_score", "base", "mild").mean == pytest.approx(3.35)
    assert find(rows, "persona_score", "base", PANEL).mean == pytest.approx(2.85)


def test_missing_verdicts_enter_no_mean_and_are_counted() -> None:
    rows = measure_models(gather(missing=3), seed=1)
    overall = find(rows, "persona_score", "base", "strict")
    assert overall.missing == 3
    assert overall.rows == 6  # p0 lacks both tasks, p1 one of them
    gain = compare(gather(missing=3))["persona_score", "strict", ""]
    assert gain.missing == 3 and gain.mean == pytest.approx(2.0)


def test_chance_is_told_where_it_is_known() -> None:
    rows = measure_models(gather(), seed=1)
    assert find(rows, "attribution", "base").chance == pytest.approx(0.25)
    assert find(rows, "attribution_hard", "base").chance == pytest.approx(0.5)
    assert find(rows, "profile_gain", "tuned").chance is None


def test_abilities_are_compared_by_their_errors() -> None:
    rows = measure_models(gather(), seed=1)
    ability = find(rows, "ability", "base", task="sums acc")
    assert ability.low == pytest.approx(0.5 - 1.96 * 0.03, abs=1e-4)
    loss = compare(gather())["ability", "", "sums acc"]
    assert loss.mean == pytest.approx(-0.1)
    assert loss.high == pytest.approx(-0.1 + 1.96 * 0.05, abs=1e-4)


def test_the_order_of_models_and_rows_changes_no_measure() -> None:
    evidence = gather(judges=("strict", "mild"))
    turned = Evidence(
        models=evidence.models,
        judges=evidence.judges,
        judgements=tuple(reversed(evidence.judgements)),
        answers={name: evidence.answers[name] for name in ("tuned", "base")},
        attributions={name: rows[::-1] for name, rows in evidence.attributions.items()},
        abilities=evidence.abilities[::-1],
    )
    assert measure_models(turned, seed=1) == measure_models(evidence, seed=1)
    assert compare(turned) == compare(evidence)


def test_the_closing_line_names_scores_and_gains_of_the_panel() -> None:
    evidence = gather(judges=("strict", "mild"))
    shown = choose_headline(measure_models(evidence, seed=1), compare_models(evidence))
    assert shown["persona_score_base"] == pytest.approx(2.85)
    assert shown["persona_score_tuned_gain_low"] == pytest.approx(0.7165)
    assert shown["attribution_tuned"] == 1.0
    assert "score_tuned" not in shown
