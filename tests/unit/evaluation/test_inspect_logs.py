"""Proves that a log holds every answer once, with the verdicts that could be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.evaluation.inspect_logs import render_log
from tasks.measures.statistics import Score, estimate_mean
from tasks.records import Answer
from tests.unit.evaluation.test_win_rates import UNITS, judge_all, make_answers

SCORES = [3.0, 4.0, None, 5.0, *[2.0] * (UNITS - 4)]
CREATED = "2026-11-25T03:40:00+00:00"


def render(answers: list[Answer]) -> dict[str, Any]:
    judgements = [*judge_all("judge", "tuned", SCORES), *judge_all("judge", "base", [1.0] * UNITS)]
    data = render_log(
        "tuned", answers, judgements, run="demo", created=CREATED, versions={"ray": "2"}
    )
    log: dict[str, Any] = json.loads(data)
    return log


def test_every_answer_is_a_sample_with_its_verdict() -> None:
    log = render(make_answers("tuned"))
    assert (log["version"], log["status"], log["eval"]["created"]) == (2, "success", CREATED)
    assert log["eval"]["model"] == "tuned" and log["eval"]["dataset"]["samples"] == UNITS
    samples = log["samples"]
    assert [one["id"] for one in samples] == [f"q{n}" for n in range(UNITS)]
    assert [one["scores"].get("judge", {}).get("value") for one in samples] == SCORES
    first = samples[0]
    assert (first["epoch"], first["input"], first["output"]["completion"]) == (1, "Who?", "Me.")
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"]
    assert first["output"]["choices"][0]["stop_reason"] == "stop"


def test_means_are_those_of_the_report_and_missing_verdicts_are_counted() -> None:
    (score,) = render(make_answers("tuned"))["results"]["scores"]
    rows = [Score(f"q{n}", f"p{n // 2}", "", value) for n, value in enumerate(SCORES)]
    expected = estimate_mean(rows)
    assert (score["scored_samples"], score["unscored_samples"]) == (UNITS - 1, 1)
    assert score["metrics"]["mean"]["value"] == pytest.approx(expected.mean)
    assert score["metrics"]["stderr"]["value"] == pytest.approx(expected.standard_error)


def test_verdicts_on_answers_that_are_not_in_the_log_count_for_nothing() -> None:
    (score,) = render(make_answers("tuned")[:2])["results"]["scores"]
    assert score["metrics"]["mean"]["value"] == 3.5 and score["scored_samples"] == 2
    assert "stderr" not in score["metrics"]  # both are one persona's
