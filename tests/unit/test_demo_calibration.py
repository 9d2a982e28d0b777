"""Proves that the demo's labelled answers are true, unseen, and judged as the judge was taught."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from configs.demo.world.calibration import FILE_NAME, write_calibration
from configs.demo.world.lessons import Noise, School
from configs.demo.world.manners import MANNERS
from configs.demo.world.rubrics import DEMO_RUBRIC
from configs.demo.world.texts import FIELDS
from configs.demo.world.topics import FORMS, TOPICS
from configs.demo.world.trades import TRADES
from configs.demo.world.world import held_out_characters, held_out_questions
from infra.paths import packaged_configs
from infra.protocol import Message
from infra.rendering.prompts import PromptTemplate
from tasks.evaluation.judging.calibration import Labelled, plan_calibration, read_labelled
from tasks.evaluation.judging.rubrics import RubricPrompt, load_rubrics

DEMO = packaged_configs() / "demo"
HEADINGS = {
    "# Persona": "persona",
    "# Character Profile": "profile",
    "# Question": "question",
    "# Response": "answer",
}


@pytest.fixture(scope="module")
def rows() -> tuple[Labelled, ...]:
    return read_labelled(DEMO / FILE_NAME)


def test_the_committed_file_is_what_the_recipe_writes(tmp_path: Path) -> None:
    write_calibration(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == (DEMO / FILE_NAME).read_bytes()


def test_scores_are_spread_and_voices_come_in_pairs(rows: tuple[Labelled, ...]) -> None:
    spread = Counter(row.score for row in rows if row.in_voice is None)
    assert spread == dict.fromkeys((1.0, 2.0, 3.0, 4.0, 5.0), 24)
    own = {(row.question, row.answer): row for row in rows if row.in_voice is True}
    swapped = {(row.question, row.answer): row for row in rows if row.in_voice is False}
    assert len(own) == 60
    assert own.keys() == swapped.keys()
    assert {row.score for row in own.values()} == {5.0}
    assert {row.score for row in swapped.values()} == {2.0}
    for key, row in own.items():
        assert row.persona != swapped[key].persona
        assert bool(row.profile) == bool(swapped[key].profile)


def test_every_check_is_broken_in_some_answer_that_scores_four(rows: tuple[Labelled, ...]) -> None:
    broken = Counter[str]()
    for row in rows:
        if row.score == 4:
            broken.update(name for name, holds in check_answer(row).items() if not holds)
    assert set(broken) == {"opening", "trade", "closing", "topic"}


def test_scores_count_the_checks_that_hold(rows: tuple[Labelled, ...]) -> None:
    for row in rows:
        assert row.score == 1 + sum(check_answer(row).values()), row


def test_people_and_questions_were_held_out_of_all_lessons(rows: tuple[Labelled, ...]) -> None:
    for row in rows:
        trade, manner = find_person(row)
        assert (trade, manner) in held_out_characters()
        topic = next(topic for topic in TOPICS if topic.phrase in row.question)
        asked = [
            form.name
            for form in FORMS
            if any(row.question.endswith(text.format(topic.phrase)) for text in form.questions)
        ]
        assert any((topic.name, form) in held_out_questions() for form in asked)


def test_the_judge_is_asked_as_it_was_taught(rows: tuple[Labelled, ...]) -> None:
    """Render with the demo's own prompt and rubric; only the data differs from a lesson's."""
    template = PromptTemplate.load(packaged_configs() / "prompts" / "demo" / "judge.j2")
    rubric = load_rubrics(DEMO / "rubric.json")["linguistic_habits"]
    prompt = RubricPrompt(template, rubric)
    school = School(1, Noise(strangers=0.0, requests=0.0, rewordings=0.0))
    taught = [school.draw_lesson("judge") for _ in range(400)]
    kinds = {
        mask(item.messages, item.context)
        for item in taught
        if item.context["task"] == DEMO_RUBRIC.task and not item.context["examples"]
    }
    asked = set()
    for row in rows:
        values = {
            "persona": row.persona,
            "profile": row.profile,
            "question": row.question,
            "answer": row.answer,
        }
        messages = prompt.render({**values, "examples": (), "structured": False})
        asked.add(mask(messages, values))
        assert tuple(line.split(": ", 1)[0] for line in row.profile.splitlines()) in ((), FIELDS)
    assert asked == kinds
    assert len(kinds) == 2  # with a profile and without


def test_lines_are_plain_objects_without_labels_the_judge_could_see(
    rows: tuple[Labelled, ...],
) -> None:
    lines = (DEMO / FILE_NAME).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(rows) == 240
    names = {name for line in lines for name in json.loads(line)}
    assert names == {"persona", "profile", "question", "answer", "score", "in_voice"}
    assert {"score", "in_voice"}.isdisjoint(plan_calibration("r", rows).columns)


def mask(messages: Sequence[Message], values: Mapping[str, object]) -> tuple[str, ...]:
    """Replace the four texts, each with the heading above it, by its heading alone."""
    system, user = messages
    text = user.content
    for heading, name in HEADINGS.items():
        part = f"{heading}\n{values[name]}\n"
        if values[name]:
            assert text.count(part) == 1
            text = text.replace(part, heading)
    return system.content, text


def find_person(row: Labelled) -> tuple[str, str]:
    """Return the trade and the manner that persona and profile tell of."""
    told = f"{row.persona}\n{row.profile}"
    (trade,) = [item.name for item in TRADES if re.search(rf"\b{item.name}\b", told)]
    (manner,) = [item.name for item in MANNERS if re.search(rf"(?i)\b{item.name}\b", told)]
    return trade, manner


def check_answer(row: Labelled) -> dict[str, bool]:
    """Read the answer's markers anew, without the world's own reader."""
    trade_name, manner_name = find_person(row)
    trade = next(item for item in TRADES if item.name == trade_name)
    manner = next(item for item in MANNERS if item.name == manner_name)
    topic = next(item for item in TOPICS if item.phrase in row.question)
    answer = row.answer.lower()
    return {
        "opening": any(text in row.answer for text in manner.openings),
        "trade": any(text in row.answer for text in trade.sayings),
        "closing": any(text in row.answer for text in manner.closings),
        "topic": any(text in answer for text in topic.advice),
    }
