"""Turns one row of a known data set format into a conversation of user and assistant turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from infra.errors import Reject
from infra.text_cleaning import clean_text
from tasks.instructions.config import Format
from tasks.records import Turn

_Row = Mapping[str, object]
_SHOWN_CHARS = 200

CORPORA: dict[Format, str] = {
    "alpaca": "alpaca",
    "lima": "lima",
    "persona_hub": "ph-instruct",
    "messages": "chat",
}
"""What the paper calls the questions of each format, unless the configuration says otherwise."""

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
_SYNTHESISED = ("synthesized text", "synthesized_text")
_ANSWERS = ("output", "response")
_NO_INPUT = ("<noinput>", "<no input>")
_PROMPT_LABEL = re.compile(r"\s*[*_#\s]*user\s+prompt[*_\s]*:[*_\s]*", re.IGNORECASE)


def find_format(columns: Sequence[str] | _Row) -> Format | None:
    """Tell a row's format by its columns, or return ``None``."""
    if any(column in columns for column in _SYNTHESISED):
        return "persona_hub"
    if "conversations" in columns:
        return "lima"
    if "messages" in columns:
        return "messages"
    if "instruction" in columns:
        return "alpaca"
    return None


def read_conversation(row: _Row, format: Format) -> tuple[Turn, ...] | Reject:
    """Return a row's turns, user first and roles alternating, or why there are none.

    A leading system turn is left out: characters bring their own system prompt. The reasons are
    malformed, missing_text, roles_not_alternating and no_user_turn.
    """
    return _READERS[format](row)


def _read_alpaca(row: _Row) -> tuple[Turn, ...] | Reject:
    question = _text(row.get("instruction"), "instruction")
    if isinstance(question, Reject):
        return question
    if not question:
        return Reject("missing_text", "the instruction is empty")
    given = _text(row.get("input") or "", "input")
    answer = _text(next((row[name] for name in _ANSWERS if row.get(name)), ""), "output")
    for value in (given, answer):
        if isinstance(value, Reject):
            return value
    given, answer = cast(str, given), cast(str, answer)
    if given and given.lower() not in _NO_INPUT:
        question = f"{question}\n\n{given}"
    return (Turn("user", question), *([Turn("assistant", answer)] if answer else []))


def _read_persona_hub(row: _Row) -> tuple[Turn, ...] | Reject:
    value = next((row[name] for name in _SYNTHESISED if name in row), None)
    question = _text(value, _SYNTHESISED[0])
    if isinstance(question, Reject):
        return question
    question = strip_prompt_label(question)
    return (Turn("user", question),) if question else Reject("missing_text", "the text is empty")


def strip_prompt_label(text: str) -> str:
    """Return a synthesised prompt without its leading "User prompt:", bold or not."""
    label = _PROMPT_LABEL.match(text)
    return text[label.end() :].strip() if label else text.strip()


def _read_chat(column: str) -> Callable[[_Row], tuple[Turn, ...] | Reject]:
    def read(row: _Row) -> tuple[Turn, ...] | Reject:
        items = row.get(column)
        if not isinstance(items, list | tuple):
            return Reject("malformed", f"{column} is not a list: {_show(items)}")
        turns: list[Turn] = []
        for index, item in enumerate(items):
            turn = _read_turn(item, index)
            if isinstance(turn, Reject):
                return turn
            turns.append(turn)
        return _check_turns(turns[1:] if turns and turns[0].role == "system" else turns)

    return read


def _read_turn(item: object, index: int) -> Turn | Reject:
    """Read one turn: a string (roles alternate, user first) or a mapping of role and text."""
    if isinstance(item, str):
        return Turn("assistant" if index % 2 else "user", clean_text(item))
    if not isinstance(item, Mapping):
        return Reject("malformed", f"turn {index + 1} is no text: {_show(item)}")
    name = item.get("role", item.get("from"))
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        return Reject("malformed", f"turn {index + 1} has an unknown role: {_show(name)}")
    content = _text(item.get("content", item.get("value")), f"turn {index + 1}")
    return content if isinstance(content, Reject) else Turn(role, content)


def _check_turns(turns: list[Turn]) -> tuple[Turn, ...] | Reject:
    if not any(turn.role == "user" for turn in turns):
        return Reject("no_user_turn", f"{len(turns)} turns")
    roles = [turn.role for turn in turns]
    if roles != [("user", "assistant")[index % 2] for index in range(len(roles))]:
        return Reject("roles_not_alternating", ", ".join(roles)[:_SHOWN_CHARS])
    if turns[-1].role == "assistant" and not turns[-1].content:
        turns = turns[:-1]
    empty = [index for index, turn in enumerate(turns, 1) if not turn.content]
    if empty:
        return Reject("missing_text", f"turn {empty[0]} is empty")
    return tuple(turns)


def _text(value: object, what: str) -> str | Reject:
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return Reject("missing_text", f"no {what}")
    return Reject("malformed", f"{what} is not text: {_show(value)}")


def _show(value: object) -> str:
    return repr(value)[:_SHOWN_CHARS]


_READERS: dict[Format, Callable[[_Row], tuple[Turn, ...] | Reject]] = {
    "alpaca": _read_alpaca,
    "lima": _read_chat("conversations"),
    "persona_hub": _read_persona_hub,
    "messages": _read_chat("messages"),
}
