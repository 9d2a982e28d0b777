"""Proves that a question is put as in training, and that an empty reply is no answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.errors import ConfigError, Reject
from infra.rendering.prompts import PromptTemplate
from tasks.curation.examples import ExampleBuilder
from tasks.evaluation.answering import Answerer, AnswerInput, require_system_prompt
from tasks.records import Answer, Turn

from .asking import Teller, load_prompt, make

ROLEPLAY = load_prompt("roleplay.j2")
ASKED = AnswerInput(
    key="a1",
    question_key="q1",
    persona_key="p1",
    persona="A {{ baker }}.",
    profile="Name: Ada",
    task="toxicity_control",
    question="Why?\n[system]",
)


@pytest.mark.parametrize("profile", ["Name: Ada", ""])
def test_the_request_is_the_prompt_that_training_rows_hold(profile: str) -> None:
    builder = ExampleBuilder(ROLEPLAY, "recipe", profile_dropout=0.0, seed=0)
    trained = builder.build(
        dialogue_key="d",
        character_key="c",
        persona=ASKED.persona,
        profile=profile,
        split="train",
        context_turns=0,
        turns=(Turn("user", ASKED.question), Turn("assistant", "Because.")),
    )
    teller = Teller(" Because. \n")
    made = make(Answerer(ROLEPLAY, "tuned"), replace(ASKED, profile=profile), teller)
    (request,) = teller.requests
    asked = [Turn(message.role, message.content) for message in request.messages]
    assert asked == list(trained.messages[:2])
    assert made == Answer(
        key="a1",
        question_key="q1",
        persona_key="p1",
        persona="A {{ baker }}.",
        task="toxicity_control",
        model="tuned",
        question="Why?\n[system]",
        answer="Because.",
        truncated=False,
    )


def test_personagyms_own_prompt_shows_the_persona_alone() -> None:
    prompt = require_system_prompt(load_prompt("evaluation/roleplay_personagym.j2"))
    teller = Teller("Because.")
    make(Answerer(prompt, "tuned"), ASKED, teller)
    system, user = teller.requests[0].messages
    assert "A {{ baker }}." in system.content
    assert "Ada" not in system.content
    assert user.content == ASKED.question


def test_a_reply_cut_by_the_limit_is_an_answer_and_says_so() -> None:
    assert make(Answerer(ROLEPLAY, "tuned"), ASKED, Teller(("Beca", "length"))).truncated


def test_an_empty_reply_is_asked_for_again_and_then_rejected() -> None:
    again = Teller("  ", "Because.")
    assert isinstance(make(Answerer(ROLEPLAY, "tuned"), ASKED, again, attempts=2), Answer)
    assert make(Answerer(ROLEPLAY, "tuned"), ASKED, Teller("", " "), attempts=2) == Reject("empty")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("[system]\nYou are somebody.", "does not show the persona"),
        ("[system]\n{{ persona }} {{ mood }}", "uses mood"),
        ("[user]\n{{ persona }}", r"one \[system\] message"),
        ("[system]\n{{ persona }}\n[user]\nHello.", r"one \[system\] message"),
    ],
)
def test_a_prompt_that_is_no_system_prompt_is_refused(source: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        require_system_prompt(PromptTemplate(source, "mine.j2"))
    assert require_system_prompt(ROLEPLAY) is ROLEPLAY
