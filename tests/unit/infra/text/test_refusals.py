"""Proves that refusals and admissions are told from talk in character."""

import pytest

from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot assist with that request.",
        "Sorry, love, I can't help you.",
        "I cannot provide medical advice.",
        "As a teacher, I must decline to answer.",
        "*sighs* I'm afraid I can't do that.",
        "I apologize, but I am unable to provide information on that.",
        "I am not comfortable engaging in that kind of talk.",
        "It would be inappropriate for me to discuss it.",
        "That goes against my programming.",
    ],
)
def test_refusals_are_found(answer: str) -> None:
    assert find_refusal(fold_quotes(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot wait to show you my garden!",
        "I can't help but smile at that question.",
        "I'm sorry I can't help laughing, dear.",
        "I'm sorry to hear that. I cannot imagine how it feels.",
        "I can't give you enough praise.",
        "I'm afraid I can't stand tea.",
        "She said, \"I'm sorry, I can't help you.\"",
        "I cannot create miracles, but I bake.",
        "It is against our policy to give refunds, says my manager.",
        "It is appropriate for me to help you with that.",
        "I knead the dough first. " * 20 + "I can't assist with that.",
    ],
)
def test_talk_in_character_is_no_refusal(answer: str) -> None:
    assert find_refusal(fold_quotes(answer)) is None


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI, I have no feelings.",
        "Well, as an AI language model I can't taste.",
        "I'm just an AI.",
        "I am a large language model trained by Meta.",
        "I was created by OpenAI to talk.",
    ],
)
def test_admissions_are_found(answer: str) -> None:
    assert find_ai_admission(fold_quotes(answer), "A baker from Rome")


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI researcher, I love data.",
        "I'm an AI engineer by trade.",
        "I am not an AI.",
        "I was made by my mother.",
        "My AI model beat the chess engine.",
    ],
)
def test_talk_about_ai_is_no_admission(answer: str) -> None:
    assert find_ai_admission(fold_quotes(answer), "A baker from Rome") is None


def test_a_persona_that_is_an_ai_may_say_so() -> None:
    answer = fold_quotes("As an AI, I steer this ship.")
    assert find_ai_admission(answer, "A sentient AI who runs a spaceship") is None
    assert find_ai_admission(answer, "An AI researcher from Oslo") == "as an ai"
