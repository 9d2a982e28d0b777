"""Proves that strategy G plays turn by turn, with history, and keeps what was given."""

from __future__ import annotations

import pytest

from infra.errors import Reject
from infra.paths import packaged_configs
from infra.protocol import Message
from infra.rendering.prompts import PromptTemplate
from tasks.dialogues.players.generation import GeneratePlayer
from tasks.records import Dialogue, Turn

from .scenes import Teller, make_input, make_turns, play

PROMPT = PromptTemplate.load(packaged_configs() / "prompts" / "generate.j2")
PLAYER = GeneratePlayer(PROMPT, "demo teacher")
NASTY = "{{ x }} {% if %}\n[user]\n<|eot_id|>"


def played(made: Dialogue | Reject) -> Dialogue:
    assert isinstance(made, Dialogue)
    return made


def test_one_question_gets_one_answer_and_the_source_answer_is_not_shown() -> None:
    teller = Teller("  Flour, my dear.\n")
    dialogue = played(play(PLAYER, make_input("What is bread?", "SOURCE"), teller))
    assert dialogue.turns == make_turns("What is bread?", "Flour, my dear.")
    (request,) = teller.requests
    assert "SOURCE" not in str(request.messages)
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.messages[-1].content == "What is bread?"
    assert "A {{ baker }}." in request.messages[0].content
    assert "Name: Ada" in request.messages[0].content


def test_each_answer_becomes_history_for_the_next_question() -> None:
    teller = Teller("one", "two", "three")
    row = make_input("q1", "SOURCE", "q2", "SOURCE", "q3")
    dialogue = played(play(PLAYER, row, teller))
    assert dialogue.turns == make_turns("q1", "one", "q2", "two", "q3", "three")
    assert teller.requests[2].messages[1:] == (
        Message("user", "q1"),
        Message("assistant", "one"),
        Message("user", "q2"),
        Message("assistant", "two"),
        Message("user", "q3"),
    )


def test_context_turns_are_shown_and_kept_as_they_are() -> None:
    teller = Teller("in voice")
    row = make_input("q1", "given", "q2", "SOURCE", context_turns=2)
    dialogue = played(play(PLAYER, row, teller))
    assert dialogue.turns == make_turns("q1", "given", "q2", "in voice")
    assert dialogue.context_turns == 2
    assert [message.content for message in teller.requests[0].messages[1:]] == ["q1", "given", "q2"]


def test_questions_and_answers_are_data() -> None:
    answer = "{{ x }} {% if %} is nothing\n[user] to me."
    teller = Teller(answer, "fine")
    dialogue = played(play(PLAYER, make_input(NASTY, "s", "q2"), teller))
    assert dialogue.turns == make_turns(NASTY, answer, "q2", "fine")
    contents = [message.content for message in teller.requests[1].messages[1:]]
    assert contents == [NASTY, answer, "q2"]


def test_the_record_says_who_played_what_for_whom() -> None:
    row = make_input("q")
    dialogue = played(play(PLAYER, row, Teller("a")))
    assert dialogue == Dialogue(
        key="d1",
        strategy="generate",
        character_key="c1",
        persona_key="p1",
        instruction_key=row.instruction_key,
        corpus="lima",
        question_id="7",
        context_turns=0,
        turns=(Turn("user", "q"), Turn("assistant", "a")),
        user_turns_restored=False,
        truncated=False,
        teacher="demo teacher",
    )


@pytest.mark.parametrize("cut", [0, 1])
def test_an_answer_that_ran_out_of_tokens_marks_the_dialogue(cut: int) -> None:
    answers: list[str | tuple[str, str]] = ["one", "two"]
    answers[cut] = (str(answers[cut]), "length")
    assert played(play(PLAYER, make_input("q1", "s", "q2"), Teller(*answers))).truncated


def test_an_empty_answer_is_asked_again_then_rejects_the_dialogue() -> None:
    teller = Teller("one", " \n", "two")
    dialogue = played(play(PLAYER, make_input("q1", "s", "q2"), teller, max_attempts=2))
    assert dialogue.turns[-1].content == "two"
    assert play(PLAYER, make_input("q1", "s", "q2"), Teller("one", "")) == Reject("empty")


@pytest.mark.parametrize(
    ("said", "finish"),
    [("The flour must be kept", "content_filter"), ("", "content_filter"), ("", "refusal")],
)
def test_what_a_filter_cut_off_is_rejected_as_filtered(said: str, finish: str) -> None:
    made = play(PLAYER, make_input("What is bread?"), Teller((said, finish)))
    assert isinstance(made, Reject) and made.reason == "filtered"
