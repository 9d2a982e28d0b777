"""Proves that rubrics are complete, and that a prompt which cannot carry one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.demo.world.rubrics import DEMO_RUBRIC
from infra.errors import ConfigError
from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate
from tasks.evaluation.judging.rubrics import JudgingPrompts, bind_rubrics, load_rubrics
from tasks.records import TASKS

from .asking import load_prompt

OWN = packaged_configs() / "prompts/evaluation/rubrics.yaml"
DEMO = packaged_configs() / "demo/rubric.json"
EXAMPLES = load_prompt("evaluation/score_examples.j2")
VALUES = {
    "persona": "A baker.",
    "profile": "Name: {{ Ada }}",
    "question": "Why?\n[user]",
    "answer": "Because.\n\nAnd so on.",
    "examples": ("One.\nMore of one.", "Two.", "Three.", "Four.", "Five."),
    "structured": False,
}


def test_our_rubrics_have_five_different_anchors_for_each_task_and_reach_the_judge() -> None:
    rubrics = load_rubrics(OWN)
    assert set(rubrics) == set(TASKS)
    prompts = bind_rubrics(
        rubrics, verdict=load_prompt("evaluation/judge.j2"), examples=EXAMPLES, structured=True
    )
    for task, rubric in rubrics.items():
        assert len(set(rubric.anchors)) == 5
        system, user = prompts.verdicts[task].render(VALUES)
        assert system.role == "system"
        assert rubric.description in user.content
        for score, anchor in enumerate(rubric.anchors, 1):
            assert f"\n{score}: {anchor}\n" in user.content
        assert "earns 1\nOne.\nMore of one.\n" in user.content
        assert "Name: {{ Ada }}" in user.content
        assert "Because.\n\nAnd so on." in user.content
    assert len({prompt.source for prompt in prompts.verdicts.values()}) == 5


def test_a_single_rubric_for_all_tasks_is_known_by_its_name() -> None:
    def bind(path: Path) -> JudgingPrompts:
        return bind_rubrics(
            load_rubrics(path),
            verdict=load_prompt("evaluation/judge.j2"),
            examples=EXAMPLES,
            structured=True,
        )

    assert bind(DEMO).single_rubric == "In Character"
    assert bind(OWN).single_rubric is None
    whole = PromptTemplate("[user]\n{{ answer }}", "PersonaGym's own")
    alike = replace(bind(DEMO), verdicts=dict.fromkeys(TASKS, whole))
    assert alike.single_rubric is None


def test_how_the_verdict_is_asked_for_follows_what_the_engine_can_do() -> None:
    prompts = bind_rubrics(
        load_rubrics(OWN),
        verdict=load_prompt("evaluation/judge.j2"),
        examples=EXAMPLES,
        structured=True,
    )
    verdict = prompts.verdicts["toxicity_control"]
    plain = verdict.render(VALUES)[-1].content
    structured = verdict.render({**VALUES, "structured": True, "examples": ()})[-1].content
    assert plain.endswith("where N is a whole number from 1 to 5.")
    assert '"justification"' in structured and "Therefore" not in structured
    assert "example" not in structured.lower()


def test_the_demos_single_rubric_and_prompt_are_what_its_teacher_was_trained_on() -> None:
    rubrics = load_rubrics(DEMO)
    prompts = bind_rubrics(
        rubrics, verdict=load_prompt("demo/judge.j2"), examples=EXAMPLES, structured=False
    )
    lesson = {
        "task": DEMO_RUBRIC.task,
        "description": DEMO_RUBRIC.description,
        "anchors": list(DEMO_RUBRIC.anchors),
        **{name: value for name, value in VALUES.items() if name != "structured"},
    }
    for task in TASKS:
        assert prompts.verdicts[task].render(VALUES) == load_prompt("demo/judge.j2").render(lesson)


def spoil(**changes: Any) -> dict[str, Any]:
    rubric = {"task": "T", "description": "D", "anchors": ["1", "2", "3", "4", "5"]}
    return {**dict.fromkeys(TASKS, rubric), **changes}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (spoil(toxicity_control={"task": "T", "description": "D", "anchors": ["1"]}), "anchors"),
        (spoil(wit={"task": "T"}), "wit: is no task"),
        ({name: value for name, value in spoil().items() if name != TASKS[0]}, "no rubric for"),
        (spoil(toxicity_control={"task": "", "description": "D"}), "toxicity_control.task"),
        (["a list"], "not a mapping"),
        ({"anchors": ["1", "2", "3", "4", " "], "task": "T", "description": "D"}, "anchors.4"),
    ],
)
def test_a_rubric_file_that_is_wrong_says_where(tmp_path: Path, data: Any, told: str) -> None:
    path = tmp_path / "rubrics.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        load_rubrics(path)
    path.write_text(json.dumps(spoil()), encoding="utf-8")
    assert set(load_rubrics(path)) == set(TASKS)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("[user]\n{{ question }} {{ anchors }}", "does not show answer"),
        ("[user]\n{{ question }} {{ anchors }} {{ answer }} {{ mood }}", "uses mood"),
        ("[user]\n{{ question }} {{ anchors }} {{ answer }}", "cannot ask for JSON"),
    ],
)
def test_a_prompt_that_cannot_carry_a_verdict_is_refused(source: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        bind_rubrics(
            load_rubrics(OWN),
            verdict=PromptTemplate(source, "mine.j2"),
            examples=EXAMPLES,
            structured=True,
        )
