"""Proves that keys follow lineage, digests follow texts, and a new model adds its rows only."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import polars as pl
import pytest

from infra.store.fingerprints import row_key
from infra.store.row_store import find_pending
from infra.store.schema import from_plain
from tasks.evaluation.answering import AnswerInput
from tasks.evaluation.judging.judging import ExamplesInput, JudgementInput
from tasks.evaluation.planning import (
    plan_answers,
    plan_examples,
    plan_judgements,
    plan_question_rows,
)
from tasks.evaluation.questions.writing import ChosenSettings, QuestionsInput
from tasks.records import TASKS, Answer, EvalQuestion, ScoreExamples

QUESTIONS = [
    EvalQuestion(f"q{n}{p}", "generated", f"p{p}", f"A baker {p}.", TASKS[n], f"Why {n}?", "")
    for p in range(3)
    for n in range(5)
]
ANSWERS = [
    Answer(f"a-{model}-{q.key}", q.key, q.persona_key, q.persona, q.task, model, q.question,
           f"{model} says so.", truncated=False)
    for model in ("base", "tuned")
    for q in QUESTIONS
]  # fmt: skip
EXAMPLES = [
    ScoreExamples(f"e-{q.key}", q.key, q.task, "judge", ("1\n1", "2", "3", "4", "5"))
    for q in QUESTIONS
]
PROFILES = {"p1": "Name: Ada"}


def check_frame(frame: pl.DataFrame, record: Any, rows: int) -> list[Any]:
    """Build every input record as a worker does, and check that keys are unique."""
    assert frame.columns[:3] == ["key", "parents_digest", "group"]
    assert {field.name for field in fields(record)} <= set(frame.columns)
    assert frame["key"].n_unique() == frame.height == rows
    return [from_plain(record, row) for row in frame.iter_rows(named=True)]


def test_questions_are_written_once_a_persona_and_task() -> None:
    chosen = [ChosenSettings(f"s{p}", f"p{p}", f"A baker {p}.", ("A market",)) for p in range(3)]
    frame = plan_question_rows("r", chosen)
    rows = check_frame(frame, QuestionsInput, 15)
    assert rows[0].settings == ("A market",)
    moved = plan_question_rows("r", [replace(item, settings=("A fair",)) for item in chosen])
    assert moved["key"].to_list() == frame["key"].to_list()
    assert not set(moved["parents_digest"]) & set(frame["parents_digest"])


def test_an_answers_key_follows_the_question_and_its_digest_what_is_shown() -> None:
    frame = plan_answers("r", QUESTIONS)
    rows = check_frame(frame, AnswerInput, 15)
    assert frame["key"].to_list() == [row_key("r", [item.key]) for item in QUESTIONS]
    assert {row.profile for row in rows} == {""}
    with_profile = plan_answers("r", QUESTIONS, PROFILES)
    assert with_profile["key"].to_list() == frame["key"].to_list()
    assert find_pending(with_profile, frame)["persona_key"].unique().to_list() == ["p1"]
    reworded = [replace(item, question="Why not?") for item in QUESTIONS]
    assert find_pending(plan_answers("r", reworded), frame).height == 15


def test_examples_know_no_model() -> None:
    rows = check_frame(plan_examples("r", QUESTIONS, PROFILES), ExamplesInput, 15)
    assert {row.profile for row in rows} == {"", "Name: Ada"}
    assert "model" not in plan_examples("r", QUESTIONS).columns


def test_judgements_carry_their_questions_examples_whole() -> None:
    rows = check_frame(plan_judgements("r", ANSWERS, EXAMPLES, PROFILES), JudgementInput, 30)
    assert {row.examples for row in rows} == {("1\n1", "2", "3", "4", "5")}
    assert {row.answer for row in rows} == {"base says so.", "tuned says so."}
    without = plan_judgements("r", ANSWERS)
    assert check_frame(without, JudgementInput, 30)[0].examples == ()
    some = plan_judgements("r", ANSWERS, EXAMPLES[1:])
    assert len(set(some["key"]) & set(without["key"])) == 2  # two models, one question


def test_one_more_model_adds_its_own_judgements_only() -> None:
    before = plan_judgements("r", ANSWERS[:15], EXAMPLES)
    pending = find_pending(plan_judgements("r", ANSWERS, EXAMPLES), before)
    assert pending["model"].unique().to_list() == ["tuned"]
    assert pending.height == 15


def test_changed_examples_are_judged_anew() -> None:
    before = plan_judgements("r", ANSWERS, EXAMPLES)
    changed = [replace(EXAMPLES[0], examples=("1", "2", "3", "4", "6")), *EXAMPLES[1:]]
    pending = find_pending(plan_judgements("r", ANSWERS, changed), before)
    assert pending["question_key"].unique().to_list() == [EXAMPLES[0].question_key]


def test_rows_with_one_beginning_stand_together() -> None:
    frame = plan_judgements("r", ANSWERS, EXAMPLES).sort("group", "key")
    models = frame["model"].to_list()
    assert all(sorted(models[n : n + 2]) == ["base", "tuned"] for n in range(0, 30, 2))
    assert frame["task"].to_list() == sorted(frame["task"].to_list())


def test_examples_of_two_judges_do_not_mix() -> None:
    other = replace(EXAMPLES[0], key="e-other", judge="another")
    with pytest.raises(ValueError, match="by judge and by another"):
        plan_judgements("r", ANSWERS, [*EXAMPLES, other])


def test_nothing_to_plan_has_the_columns_all_the_same() -> None:
    check_frame(plan_answers("r", []), AnswerInput, 0)
    check_frame(plan_judgements("r", []), JudgementInput, 0)
