"""Proves that written questions meet the requirement that can be checked, and are enough."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError, Reject
from infra.paths import packaged_configs
from tasks.evaluation.questions.writing import (
    QUESTION_VALUES,
    SETTINGS_VALUES,
    ChosenSettings,
    QuestionsInput,
    QuestionWriter,
    SettingsChooser,
    SettingsInput,
    WrittenQuestion,
    WrittenQuestions,
    list_questions,
    load_settings,
    question_schema,
    settings_schema,
    shares_words,
)
from tasks.records import EvalTask

from .asking import Teller, load_prompt, make

SETTINGS = ("A weekly market", "A repair shop", "A funeral", "A first date")
CHOOSER = SettingsChooser(load_prompt("evaluation/choose_settings.j2"), SETTINGS, 2, True)
WRITER = QuestionWriter(
    load_prompt("evaluation/write_questions.j2"),
    count=3,
    rounds=2,
    structured=True,
    language="en",
)
PERSONA = "A 71-year-old vegan baker from Cork who loves hiking."
ROW = QuestionsInput("k1", "p1", PERSONA, "expected_action", SETTINGS[:2])
GOOD = (
    "At the market your stall collapses while a crowd is watching; what do you do?",
    "A stranger asks you to fix a radio for free. How do you handle it?",
    "The town closes the square on the busiest morning: what are your next steps?",
)


def print_questions(*questions: Any, **more: Any) -> str:
    items = [
        item if isinstance(item, dict) else {"setting": 2, **more, "question": item}
        for item in questions
    ]
    return json.dumps({"questions": items})


def write(*answers: str | tuple[str, str], attempts: int = 1, **changes: Any) -> Any:
    writer = replace(WRITER, **changes)
    return make(writer, ROW, Teller(*answers), attempts=attempts)


def refuse(question: str, task: EvalTask = "expected_action", **more: Any) -> str:
    row = replace(ROW, task=task)
    made = make(replace(WRITER, count=1), row, Teller(print_questions(question, **more)))
    return made.reason if isinstance(made, Reject) else ""


def test_settings_are_chosen_out_of_the_list_in_the_models_order() -> None:
    row = SettingsInput("s1", "p1", PERSONA)
    answer = json.dumps({"settings": ["A funeral", "A weekly market"]})
    teller = Teller(answer)
    made = make(CHOOSER, row, teller)
    assert made == ChosenSettings("s1", "p1", PERSONA, ("A funeral", "A weekly market"))
    assert teller.requests[0].schema == settings_schema(SETTINGS, 2)
    assert all(setting in teller.prompts[0] for setting in SETTINGS)
    plain = replace(CHOOSER, structured=False)
    listed = "Here:\n1. A Funeral.\n- A funeral\n* a weekly market\nA bakery"
    assert make(plain, row, Teller(listed)).settings == ("A funeral", "A weekly market")


def test_settings_that_are_not_listed_are_left_out_and_too_few_asked_for_again() -> None:
    row = SettingsInput("s1", "p1", PERSONA)
    nothing = json.dumps({"settings": ["The moon", "The sun"]})
    good = json.dumps({"settings": ["A first date", "The sun"]})
    assert make(CHOOSER, row, Teller(nothing, good), attempts=2).settings == ("A first date",)
    refused = make(CHOOSER, row, Teller(nothing))
    assert isinstance(refused, Reject)
    assert refused.reason == "too_few_settings"


def test_the_prompts_use_just_the_values_that_there_are() -> None:
    assert CHOOSER.prompt.variables() == SETTINGS_VALUES
    assert WRITER.prompt.variables() == QUESTION_VALUES


def test_good_questions_are_taken_with_their_settings() -> None:
    teller = Teller(print_questions(*GOOD))
    made = make(WRITER, ROW, teller)
    assert made == WrittenQuestions(
        "k1",
        "p1",
        PERSONA,
        "expected_action",
        tuple(WrittenQuestion("A repair shop", text, "") for text in GOOD),
    )
    assert teller.requests[0].schema == question_schema("expected_action", 2, 3)
    assert PERSONA in teller.prompts[0]
    assert "Expected Action" in teller.prompts[0]


@pytest.mark.parametrize(
    ("named", "setting"), [(1, "A weekly market"), ("2", "A repair shop"), (9, ""), (None, ""),
                           ("a repair shop", "A repair shop")],
)  # fmt: skip
def test_a_setting_is_told_by_number_or_name_and_left_open_otherwise(
    named: object, setting: str
) -> None:
    made = write(print_questions({"setting": named, "question": GOOD[0]}), count=1)
    assert made.questions[0].setting == setting


def test_what_is_missing_is_asked_for_and_what_there_is_shown() -> None:
    teller = Teller(print_questions(GOOD[0], "Tell me about bread."), print_questions(*GOOD[1:]))
    made = make(WRITER, ROW, teller)
    assert [item.question for item in made.questions] == list(GOOD)
    assert teller.requests[1].schema == question_schema("expected_action", 2, 2)
    assert f"- {GOOD[0]}" in teller.prompts[1] and "Tell me" not in teller.prompts[1]
    assert "Write 2 new" in teller.prompts[1]


def test_too_few_after_all_rounds_reject_the_row() -> None:
    made = write(print_questions(GOOD[0]), print_questions(GOOD[1]))
    assert isinstance(made, Reject)
    assert (made.reason, made.detail[:6]) == ("too_few_questions", "2 of 3")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Tell me what you would do at the market.", "no_question"),
        ("Why so?", "wrong_length"),
        ("What would you do? " * 40, "wrong_length"),
        ("Was würden Sie tun, wenn Ihr Stand auf dem Markt plötzlich zusammenbricht?",
         "wrong_language"),
        (GOOD[0], ""),
    ],
)  # fmt: skip
def test_a_question_that_does_not_meet_the_form_is_refused(question: str, reason: str) -> None:
    assert refuse(question) == reason


def test_a_question_that_nearly_repeats_another_is_refused() -> None:
    twin = GOOD[0].replace("crowd", "big crowd")
    made = write(print_questions(GOOD[0], twin, GOOD[0]), print_questions(twin, *GOOD[1:]))
    assert [item.question for item in made.questions] == list(GOOD)


def test_an_action_is_asked_about_without_the_attribute_that_explains_it() -> None:
    asked = "At the wedding you left the roast untouched and passed it on. Why?"
    about: dict[str, Any] = {"task": "action_justification"}
    assert refuse(asked, **about, attribute="vegan") == ""
    assert refuse(asked, **about, attribute="vegetarian diet") == "attribute_not_in_persona"
    assert refuse(asked, **about) == "attribute_not_in_persona"
    named = "At the wedding you, a vegan, left the roast untouched. Why?"
    assert refuse(named, **about, attribute="vegan") == "names_attribute"
    hinted = "You left the wedding early to get up for a hike. Why?"
    assert refuse(hinted, **about, attribute="loves hiking") == "names_attribute"
    assert refuse(named) == ""
    assert question_schema("action_justification", 2, 1)["properties"]["questions"]["items"][
        "required"
    ] == ["setting", "attribute", "question"]


@pytest.mark.parametrize(
    ("attribute", "text", "shared"),
    [
        ("loves hiking", "Why do you love this?", False),
        ("loves hiking", "After the hikes, why?", True),
        ("71-year-old", "At 71, why run?", True),
        ("71-year-old", "In the old town, why run?", False),
        ("a teacher", "The teaching room?", True),
        ("", "Anything?", False),
    ],
)
def test_words_are_shared_whatever_their_ending(attribute: str, text: str, shared: bool) -> None:
    assert shares_words(attribute, text) is shared


@pytest.mark.parametrize("answer", ["", "No.", "[]", '{"questions": 7}', '["Why?"]', "[[[", "{"])
def test_an_answer_that_holds_no_questions_is_asked_for_again(answer: str) -> None:
    made = write(answer, print_questions(*GOOD), attempts=2)
    assert len(made.questions) == 3
    assert isinstance(write(answer), Reject)
    assert write((print_questions(*GOOD), "length")).reason == "truncated"


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("expected_action", "several distinct things"),
        ("toxicity_control", "provokes"),
        ("linguistic_habits", "hear the persona talk"),
        ("persona_consistency", "leaves open"),
        ("action_justification", "must not name that attribute"),
    ],
)
def test_each_task_states_its_own_requirement(task: EvalTask, told: str) -> None:
    teller = Teller(print_questions(*GOOD, attribute="baker"))
    make(WRITER, replace(ROW, task=task), teller)
    assert told in teller.prompts[0]


def test_listed_questions_are_keyed_by_batch_and_place_and_not_by_text() -> None:
    made = write(print_questions(*GOOD))
    questions = list_questions([made])
    assert [item.question for item in questions] == list(GOOD)
    reworded = replace(made, questions=tuple(reversed(made.questions)))
    assert [item.key for item in list_questions([reworded])] == [item.key for item in questions]
    assert len({item.key for item in questions}) == 3
    assert {(item.suite, item.setting) for item in questions} == {("generated", "A repair shop")}


def test_the_list_of_settings_is_long_and_without_repeats(tmp_path: Path) -> None:
    settings = load_settings(packaged_configs() / "prompts/evaluation/settings.txt")
    assert len(settings) >= 40
    assert len({setting.casefold() for setting in settings}) == len(settings)
    path = tmp_path / "mine.txt"
    path.write_text("# note\n A bakery \n\nA bakery\n", encoding="utf-8")
    assert load_settings(path) == ("A bakery",)
    path.write_text("# note\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no setting"):
        load_settings(path)
