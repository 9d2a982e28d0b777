"""Proves that rows of each format become turns, or a typed reason."""

import json

import pytest

from infra.errors import Reject
from tasks.conversations import SYSTEM_LEFT, TOOLS_LEFT, Talk
from tasks.instructions.config import ColumnMapping, Format
from tasks.instructions.formats import find_format, read_conversation, read_row
from tasks.records import Turn

U, A, V, B = "Who bakes?", "The baker.", "And who eats?", "All of us."
ASKED = {"role": "user", "content": U}
SAID = {"role": "assistant", "content": A}


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
    found = read_conversation(row, format)
    assert find_format(row) == format
    assert isinstance(found, Talk) and found.turns == turns


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("alpaca", {"instruction": "\ufeff \n"}, "missing_text"),
        ("alpaca", {"output": A}, "missing_text"),
        ("alpaca", {"instruction": 7}, "malformed"),
        ("alpaca", {"instruction": U, "input": [{"x": 1}]}, "malformed"),
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
        ("messages", {"messages": [{"role": "tool", "content": A}]}, "no_user_turn"),
        ("messages", {"messages": [{"content": A}]}, "malformed"),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "missing_text"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "malformed",
        ),
        ("messages", {"messages": "[1, 2"}, "malformed"),
        ("messages", {"messages": {"role": ["user"], "content": [U, A]}}, "malformed"),
        ("pairs", {"question": "", "answer": A}, "missing_text"),
        ("pairs", {"question": U, "history": "before"}, "malformed"),
        ("pairs", {"chosen": "nobody speaks"}, "malformed"),
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


SPOKEN = [
    ({"instruction": U, "context": "In Rome.", "response": A}, (f"{U}\n\nIn Rome.", A)),
    ({"instruction": U, "context": ["In Rome.", "By day."], "response": A},
     (f"{U}\n\nIn Rome.\n\nBy day.", A)),
    ({"Instruction": U, "Input": None, "Output": A}, (U, A)),
    ({"instruction": V, "output": B, "history": [[U, A]], "system": "Be terse."}, (U, A, V, B)),
    ({"instruction": V, "output": B, "history": f'[["{U}", "{A}"]]'}, (U, A, V, B)),
    ({"instruction": V, "output": B, "history": []}, (V, B)),
    ({"system_prompt": "Be terse.", "question": U, "response": A}, (U, A)),
    ({"prompt": U, "response": A}, (U, A)),
    ({"prompt": U, "completion": A, "label": True}, (U, A)),
    ({"prompt": U, "completion": A, "label": False}, (U,)),
    ({"prompt": [ASKED], "completion": [SAID]}, (U, A)),
    ({"prompt": U, "chosen": A, "rejected": "I."}, (U, A)),
    ({"prompt": U, "chosen": [ASKED, SAID], "rejected": [ASKED]}, (U, A)),
    ({"prompt": U, "chosen": [SAID], "rejected": [SAID]}, (U, A)),
    ({"prompt": [ASKED], "chosen": [SAID], "rejected": [SAID]}, (U, A)),
    ({"chosen": f"\n\nHuman: {U}\n\nAssistant: {A}", "rejected": "x"}, (U, A)),
    ({"text": f"### Human: {U}### Assistant: {A}".replace("###", "\n###")}, (U, A)),
    ({"question": U, "answer": A}, (U, A)),
    ({"Question": U, "Answer": A}, (U, A)),
    ({"question": U}, (U,)),
    ({"query": U, "response": A}, (U, A)),
    ({"input": U, "output": A}, (U, A)),
    ({"context": "In Rome.", "question": U, "answers": {"text": [A], "answer_start": [3]}},
     (f"{U}\n\nIn Rome.", A)),
    ({"messages": None, "conversations": [U, A]}, (U, A)),
    ({"messages": [], "conversations": [U, A]}, (U, A)),
    ({"messages": 7, "instruction": U, "output": A}, (U, A)),
    ({"conversations": "talk-17", "prompt": U, "response": A}, (U, A)),
    ({"conversation": [ASKED, SAID]}, (U, A)),
    ({"messages": f'[{{"role": "user", "content": "{U}"}}]'}, (U,)),
    ({"messages": str([ASKED, SAID])}, (U, A)),
    ({"messages": {"role": ["user", "assistant"], "content": [U, A]}}, (U, A)),
    ({"conversations": {"from": ["human", "gpt"], "value": [U, A], "weight": [None, 1]}}, (U, A)),
    ({"messages": [{"role": None, "from": "human", "content": None, "value": U}]}, (U,)),
    ({"messages": [{"role": "developer", "content": "Be terse."}, ASKED, SAID]}, (U, A)),
    ({"messages": [{"role": "prompter", "text": U}, {"role": "assistant", "text": A}]}, (U, A)),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": U}]}, SAID]}, (U, A)),
    ({"messages": [{"role": "user", "content": [{"text": U, "type": None}]}, SAID]}, (U, A)),
    ({"messages": [ASKED, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": A}]}]}, (U, A)),
    *[({"conversations": [{"from": "Human", "value": U}, {"from": name, "value": A}]}, (U, A))
      for name in ("gpt", "chatgpt", "bing", "bard", "assistant", "GPT-4", "model", "claude")],
    ({"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                   {"role": "tool", "content": "rye"}, SAID]}, (U, A)),
    ({"messages": [ASKED, {"role": "assistant", "content": "Wait.", "tool_calls": [{"id": "1"}]},
                   {"role": "tool", "content": "rye"}, SAID]}, (U, f"Wait.\n\n{A}")),
    ({"conversations": [{"from": "human", "value": U}, {"from": "function_call", "value": "{}"},
                        {"from": "observation", "value": "rye"}, {"from": "gpt", "value": A}],
      "tools": "[]"}, (U, A)),
    ({"inputs": U, "targets": A}, (U, A)),
    ({"user_prompt": U, "assistant_response": A}, (U, A)),
    ({"Q": U, "A": A}, (U, A)),
    ({"passage": "In Rome.", "question": U, "answer": A}, (f"{U}\n\nIn Rome.", A)),
    ({"instruction": "", "question": U, "answer": A}, (U, A)),
    ({"instruction": U, "input": float("nan"), "output": A}, (U, A)),
    ({"instruction": U, "input": "None", "output": A}, (U, A)),
    ({"question": {"text": U}, "answer": {"text": A}}, (U, A)),
    ({"input": [ASKED], "ideal": A}, (U, A)),
    ({"prompt": U, "completion": [SAID]}, (U, A)),
    ({"prompt": U, "chosen": SAID, "rejected": SAID}, (U, A)),
    ({"conversation": [{"input": U, "output": A}, {"input": V, "output": B}]}, (U, A, V, B)),
    ({"conversation": [{"human": U, "assistant": A}]}, (U, A)),
    ({"chat": [{"message": U, "is_human": True}, {"message": A, "is_human": False}]}, (U, A)),
    ({"conversation": {"messages": [ASKED, SAID]}}, (U, A)),
    ({"contents": [{"role": "user", "parts": [{"text": U}]},
                   {"role": "model", "parts": [{"text": A}]}]}, (U, A)),
    ({"messages": [{"Role": "User", "Content": U}, {"Role": "Assistant", "Content": A}]}, (U, A)),
    ({"messages": [{"role": "", "from": "human", "content": "", "value": U},
                   {"role": "", "from": "gpt", "content": "", "value": A}]}, (U, A)),
    ({"messages": [f'{{"role": "user", "content": "{U}"}}', json.dumps(SAID)]}, (U, A)),
    ({"messages": json.dumps(json.dumps([ASKED, SAID]))}, (U, A)),
    ({"messages": f"[{ASKED}\n {SAID}]"}, (U, A)),
    ({"messages": f"array([{ASKED}, {SAID}], dtype=object)"[6:-15]}, (U, A)),
    ({"messages": [ASKED, {"role": "assistant", "content": "<tool_call>{}</tool_call>"},
                   {"role": "tool", "content": "rye"}, SAID]}, (U, A)),
    ({"conversations": [{"from": "user_1", "value": U}, {"from": "character", "value": A}]},
     (U, A)),
    ({"chat": f"USER: {U}\n\n\nASSISTANT: {A} <|endoftext|>"}, (U, A)),
    ({"instruction": "Who \ud83d bakes?", "output": "The \udc00baker."}, ("Who  bakes?", A)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "texts"), SPOKEN)
def test_formats_are_told_by_values(row: dict[str, object], texts: tuple[str, ...]) -> None:
    format = find_format(row)
    assert format is not None
    found = read_conversation(row, format)
    assert isinstance(found, Talk), found
    assert found.turns == talk(*texts)


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ({"messages": [ASKED, SAID]}, set()),
        ({"messages": [{"role": "system", "content": "x"}, ASKED]}, {SYSTEM_LEFT}),
        ({"question": U, "system_prompt": "Be terse."}, {SYSTEM_LEFT}),
        ({"question": U, "system_prompt": "", "answer": A}, set()),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [1]}]}, {TOOLS_LEFT}),
    ],
)
def test_what_is_left_out_is_told(row: dict[str, object], left_out: set[str]) -> None:
    format = find_format(row)
    assert format is not None
    found = read_conversation(row, format)
    assert isinstance(found, Talk) and found.left_out == left_out


def test_columns_that_are_not_read_are_known() -> None:
    row = {"instruction": U, "context": None, "response": A, "category": "bread"}
    assert read_row(row, "alpaca").used == {"instruction", "response"}


@pytest.mark.parametrize(
    ("columns", "row", "texts"),
    [
        ({"question": "ask", "answer": "Say"}, {"ask": U, "Say": A, "instruction": "x"}, (U, A)),
        ({"question": "ask"}, {"ask": U, "answer": A}, (U,)),
        ({"question": "ask", "context": "at"}, {"ask": U, "at": "Rome."}, (f"{U}\n\nRome.",)),
        ({"question": "ask", "history": "old"}, {"ask": V, "old": [U, A]}, (U, A, V)),
        ({"messages": "log", "system": "rule"}, {"log": [U, A], "rule": "x"}, (U, A)),
    ],
)
def test_columns_can_be_named(
    columns: dict[str, str], row: dict[str, object], texts: tuple[str, ...]
) -> None:
    found = read_row(row, "pairs", ColumnMapping.model_validate(columns)).talk
    assert isinstance(found, Talk) and found.turns == talk(*texts)


def test_either_a_question_or_messages_are_named() -> None:
    for columns in ({}, {"answer": "x"}, {"question": "x", "messages": "y"}):
        with pytest.raises(ValueError, match="either"):
            ColumnMapping.model_validate(columns)


@pytest.mark.parametrize("row", [{"ask": U, "say": A}, {"output": A}, {"text": "Just a text."}, {}])
def test_an_unknown_format_is_not_guessed(row: dict[str, object]) -> None:
    assert find_format(row) is None
