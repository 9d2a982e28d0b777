"""Checks which rows the browser holds, that they hang together, and that data stays data."""

from __future__ import annotations

import json

from infra.store.storage import Storage
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.browser import BrowserRows, Limits, choose_rows, encode_rows

from .worlds import NASTY, write_evaluation, write_run, write_synthesis

ALL = Limits(None, None, None)


def choose(storage: Storage, limits: Limits, people: int = 12) -> BrowserRows:
    return choose_rows(RunNodes(storage, write_run(storage, people)), limits)


def test_without_limits_everything_is_there(storage: Storage) -> None:
    rows = choose(storage, ALL)
    assert (len(rows.characters), len(rows.dialogues), len(rows.questions)) == (12, 48, 24)
    assert (rows.totals.characters, rows.totals.dialogues, rows.totals.answers) == (12, 48, 48)


def test_all_models_answers_to_a_question_stand_together_with_their_verdicts(
    storage: Storage,
) -> None:
    rows = choose(storage, ALL)
    for question in rows.questions:
        assert [answer.model for answer in question.answers] == ["base", "tuned"]
        assert all(len(answer.verdicts) == 1 for answer in question.answers)
        assert question.reference.startswith("So says the teacher")
        assert question.suite == "held out" and question.setting == "market"
    verdicts = [answer.verdicts[0] for question in rows.questions for answer in question.answers]
    assert {None, 1.0, 5.0} <= {item.score for item in verdicts}
    assert all(item.judge == "judge" and "idiom" in item.reason for item in verdicts)


def test_limits_hold_and_what_belongs_together_comes_together(storage: Storage) -> None:
    rows = choose(storage, Limits(characters=4, dialogues=9, answers=6), people=40)
    assert len(rows.questions) == 3  # of two models
    asked = {item.persona_id for item in rows.questions}
    shown = {item.persona_id for item in rows.characters}
    assert asked <= shown
    assert {item.dialogue_id for item in rows.questions} <= {item.id for item in rows.dialogues}
    assert len(rows.dialogues) == 9
    assert {item.character_id for item in rows.dialogues} <= {item.id for item in rows.characters}
    assert rows.totals.answers == 160


def test_a_shown_dialogue_brings_its_character_along(storage: Storage) -> None:
    rows = choose(storage, Limits(characters=0, dialogues=5, answers=0))
    assert rows.questions == ()
    assert {item.character_id for item in rows.dialogues} == {item.id for item in rows.characters}
    nothing = choose(storage, Limits(0, 0, 0))
    assert not nothing and nothing.totals.dialogues == 48


def test_a_larger_limit_keeps_both_strategies(storage: Storage) -> None:
    rows = choose(storage, Limits(characters=12, dialogues=20, answers=0))
    assert {item.strategy for item in rows.dialogues} == {"generate", "rewrite"}


def test_parts_of_a_run_can_be_looked_through(storage: Storage) -> None:
    assert not choose_rows(RunNodes(storage, []), ALL)
    synthesis = choose_rows(RunNodes(storage, write_synthesis(storage)), ALL)
    assert synthesis.questions == () and synthesis.dialogues
    nodes = [item for item in write_evaluation(storage) if item.stage.startswith("answers_")]
    answers = choose_rows(RunNodes(storage, nodes), ALL)
    assert answers.questions and answers.characters == ()
    assert answers.questions[0].suite == "" and answers.questions[0].answers[0].verdicts == ()


def test_no_text_can_end_the_element_that_carries_it(storage: Storage) -> None:
    rows = choose_rows(RunNodes(storage, write_synthesis(storage, persona=NASTY)), ALL)
    encoded = encode_rows(rows)
    assert not set("<>&\u2028\u2029") & set(encoded)
    found = json.loads(encoded)
    assert NASTY in [item["persona"] for item in found["characters"]]
    assert found["totals"] == {"characters": 12, "dialogues": 48, "answers": 0}
