"""Proves that rows of each format become turns, or a typed reason."""

import pytest

from infra.errors import Reject
from tasks.instructions.config import Format
from tasks.instructions.formats import find_format, read_conversation
from tasks.records import Turn

U, A = "Who bakes?", "The baker."


def talk(*contents: str) -> tuple[Turn, ...]:
    return tuple(
        Turn("assistant" if index % 2 else "user", text) for index, text in enumerate(contents)
    )


@pytest.mark.parametrize(
    ("format", "row", "turns"),
    [
        ("alpaca", {"instruction": U, "input": "", "output": A}, talk(U, A)),
        (
            "alpaca",
            {"instruction": U, "input": "In Rome.", "output": A},
            talk(f"{U}\n\nIn Rome.", A),
        ),
        ("alpaca", {"instruction": U, "input": "<noinput>", "output": ""}, talk(U)),
        ("alpaca", {"instruction": f" {U}\r\n", "input": None}, talk(U)),
        ("alpaca", {"instruction": "{{ x }}{% y %}<|eot_id|>"}, talk("{{ x }}{% y %}<|eot_id|>")),
        ("lima", {"conversations": [U, A]}, talk(U, A)),
        ("lima", {"conversations": [U]}, talk(U)),
        ("lima", {"conversations": [U, A, U, A]}, talk(U, A, U, A)),
        ("lima", {"conversations": [U, ""]}, talk(U)),
        (
            "lima",
            {"conversations": [{"from": "human", "value": U}, {"from": "gpt", "value": A}]},
            talk(U, A),
        ),
        ("persona_hub", {"input persona": "x", "synthesized text": U, "description": "d"}, talk(U)),
        ("persona_hub", {"synthesized text": f"User prompt: {U}"}, talk(U)),
        ("persona_hub", {"synthesized_text": f"**User Prompt:** {U}"}, talk(U)),
        (
            "messages",
            {
                "messages": [
                    {"role": "system", "content": "Be terse."},
                    {"role": "user", "content": U},
                    {"role": "assistant", "content": A},
                ]
            },
            talk(U, A),
        ),
    ],
)
def test_rows_of_each_format(format: Format, row: dict[str, object], turns: object) -> None:
    assert find_format(row) == format
    assert read_conversation(row, format) == turns


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("alpaca", {"instruction": "\ufeff \n"}, "missing_text"),
        ("alpaca", {"output": A}, "missing_text"),
        ("alpaca", {"instruction": 7}, "malformed"),
        ("alpaca", {"instruction": U, "input": ["x"]}, "malformed"),
        ("alpaca", {"instruction": U, "output": {"a": 1}}, "malformed"),
        ("persona_hub", {"synthesized text": "User prompt:"}, "missing_text"),
        ("persona_hub", {"synthesized text": None}, "missing_text"),
        ("lima", {"conversations": []}, "no_user_turn"),
        ("lima", {"conversations": U}, "malformed"),
        ("lima", {"conversations": None}, "malformed"),
        ("lima", {"conversations": [U, "", U]}, "missing_text"),
        ("lima", {"conversations": [U, 3]}, "malformed"),
        ("messages", {"messages": [{"role": "assistant", "content": A}]}, "no_user_turn"),
        ("messages", {"messages": [{"role": "system", "content": A}]}, "no_user_turn"),
        ("messages", {"messages": [{"role": "tool", "content": A}]}, "malformed"),
        ("messages", {"messages": [{"content": A}]}, "malformed"),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "missing_text"),
        ("messages", {"messages": [{"role": "user", "content": [{"text": U}]}]}, "malformed"),
        (
            "messages",
            {"messages": [{"role": "user", "content": U}, {"role": "user", "content": U}]},
            "roles_not_alternating",
        ),
        (
            "messages",
            {"messages": [{"role": "assistant", "content": A}, {"role": "user", "content": U}]},
            "roles_not_alternating",
        ),
    ],
)
def test_bad_rows_have_a_typed_reason(format: Format, row: dict[str, object], reason: str) -> None:
    found = read_conversation(row, format)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_an_unknown_format_is_not_guessed() -> None:
    assert find_format(["question", "answer"]) is None
