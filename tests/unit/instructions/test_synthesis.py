"""Proves how guessed prompts are read, and for whom they are guessed."""

import pytest

from infra.errors import Reject
from tasks.instructions.synthesis import choose_personas, parse_guess

ASK = "How do I keep sourdough alive?"


@pytest.mark.parametrize(
    "text",
    [
        f"User prompt: {ASK}",
        f"user PROMPT : {ASK}\r\n",
        f"**User prompt:** {ASK}",
        f"**User prompt**: {ASK}",
        f"## User prompt:\n\n{ASK}",
        f'User prompt: "{ASK}"',
        f'"User prompt: {ASK}"',
        f"User prompt: “{ASK}”",
        f"**User prompt: {ASK}**",
        f"User prompt: **{ASK}**",
        f"\ufeffUser prompt:\u00a0{ASK}",
    ],
)
def test_the_prompt_is_read_whatever_surrounds_it(text: str) -> None:
    assert parse_guess(text) == ASK


@pytest.mark.parametrize(
    "ask",
    [
        'Explain "umami" to "me"',
        "Fill {{ this }} and {% that %} in",
        "What does <|eot_id|> mean?",
        "First line\n\nsecond line",
        "Make **this** bold and **that**",
        "x" * 20_000,
    ],
)
def test_the_prompt_itself_is_kept(ask: str) -> None:
    assert parse_guess(f"User prompt: {ask}") == ask


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\u0000 \n", "empty"),
        ("User prompt:", "empty"),
        ('**User prompt:** ""', "empty"),
        ("User prompt: Why?", "too_short"),
        (f"Sure! User prompt: {ASK}", "missing_prefix"),
        (ASK, "missing_prefix"),
    ],
)
def test_what_cannot_be_used_says_why(text: str, reason: str) -> None:
    guess = parse_guess(text)
    assert isinstance(guess, Reject)
    assert guess.reason == reason


def test_more_personas_only_add() -> None:
    keys = [f"{number:032x}" for number in range(100)]
    few, more = choose_personas(keys, 10, 0), choose_personas(reversed(keys), 30, 0)
    assert few == more[:10]
    assert choose_personas(keys, 10, 1) != few
    assert sorted(choose_personas(keys, 1000, 0)) == keys
    assert choose_personas(keys, 0, 0) == []
