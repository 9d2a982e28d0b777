"""Proves that a probe changes what must not matter, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate
from tasks.evaluation.config import JudgeConfig, QuestionConfig
from tasks.evaluation.judging.calibration import plan_calibration, read_labelled
from tasks.evaluation.judging.nodes import load_judging
from tasks.evaluation.judging.probes import EMPTY_WORDS, pad_answers, turn_lines, turn_rubrics
from tasks.evaluation.judging.rubrics import RubricPrompt
from tasks.records import TASKS

SHIPPED = packaged_configs() / "judge_card" / "labelled.jsonl"
VALUES = {
    "persona": "A baker.",
    "profile": "",
    "question": "Why?",
    "answer": "Heat.",
    "examples": (),
    "structured": False,
}
DEMO = {"prompt": "prompts/demo/judge.j2", "rubrics": "demo/rubric.json", "structured": False}


def test_the_shipped_rows_have_every_score_in_every_task() -> None:
    rows = read_labelled(SHIPPED)
    assert len(rows) == 60
    assert {(row.task, row.score) for row in rows} == {
        (task, float(score)) for task in TASKS for score in range(1, 6)
    }
    for persona in {row.persona for row in rows}:
        own = [row for row in rows if row.persona == persona]
        assert sorted(row.score for row in own) == [1, 2, 3, 4, 5]
        assert {row.task for row in own} == set(TASKS)


def test_padded_rows_are_the_same_rows_with_more_words() -> None:
    rows = read_labelled(SHIPPED)
    padded = pad_answers(rows)
    assert [row.key for row in padded] == [row.key for row in rows]
    assert all(
        one.answer == f"{two.answer} {EMPTY_WORDS}" for one, two in zip(padded, rows, strict=True)
    )
    plain, longer = plan_calibration("r", rows), plan_calibration("r", padded)
    assert plain["answer_key"].equals(longer["answer_key"])
    assert not set(plain["parents_digest"]) & set(longer["parents_digest"])


@pytest.mark.parametrize("own", [{}, DEMO], ids=["ours", "demo"])
def test_a_turned_rubric_lists_the_same_anchors_from_the_fifth_to_the_first(
    own: dict[str, object],
) -> None:
    prompts = load_judging(JudgeConfig.model_validate(own), QuestionConfig())
    turned = turn_rubrics(prompts)
    assert turned is not None
    for task in TASKS:
        prompt = prompts.verdicts[task]
        assert isinstance(prompt, RubricPrompt)
        (system, plain), (same, found) = prompt.render(VALUES), turned.verdicts[task].render(VALUES)
        anchors = prompt.rubric.anchors
        lines = [f"{score}: {anchor}" for score, anchor in enumerate(anchors, 1)]
        assert "\n".join(lines) in plain.content
        assert "\n".join(reversed(lines)) in found.content
        assert sorted(plain.content.split("\n")) == sorted(found.content.split("\n"))
        assert system == same
    assert turned.verdict_source != prompts.verdict_source


def test_what_lists_no_anchors_a_line_each_cannot_be_turned() -> None:
    prompts = load_judging(JudgeConfig(), QuestionConfig())
    template = PromptTemplate("[user]\n{{ anchors | join(' / ') }} {{ answer }}", "flat")
    flat = {
        task: replace(prompt, template=template)
        for task, prompt in prompts.verdicts.items()
        if isinstance(prompt, RubricPrompt)
    }
    assert turn_rubrics(replace(prompts, verdicts=flat)) is None
    gym = {**prompts.verdicts, "expected_action": load_gym()}
    assert turn_rubrics(replace(prompts, verdicts=gym)) is None


def load_gym() -> PromptTemplate:
    """Return a prompt that is whole, as PersonaGym's own: nobody knows its anchors."""
    return PromptTemplate("[user]\n{{ answer }}", "whole")


def test_only_the_first_list_is_turned() -> None:
    assert turn_lines("a\n1: x\n2: y\nb\n1: x\n2: y", ("x", "y")) == "a\n2: y\n1: x\nb\n1: x\n2: y"
    assert turn_lines("1: x\n\n2: y", ("x", "y")) == "1: x\n\n2: y"
