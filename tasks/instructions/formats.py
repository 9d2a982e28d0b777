"""Turns one row of a known data set format into a conversation of user and assistant turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from infra.errors import Reject
from tasks.conversations import read_answer, read_text, read_turns
from tasks.instructions.config import Format
from tasks.records import Turn

_Row = Mapping[str, object]

CORPORA: dict[Format, str] = {
    "alpaca": "alpaca",
    "lima": "lima",
    "persona_hub": "ph-instruct",
    "messages": "chat",
}
"""What the paper calls the questions of each format, unless the configuration says otherwise."""

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
    question = read_text(row.get("instruction"), "instruction")
    if isinstance(question, Reject):
        return question
    if not question:
        return Reject("missing_text", "the instruction is empty")
    given = read_text(row.get("input") or "", "input")
    answer = read_text(next((row[name] for name in _ANSWERS if row.get(name)), ""), "output")
    for value in (given, answer):
        if isinstance(value, Reject):
            return value
    given, answer = cast(str, given), read_answer(cast(str, answer))
    if given and given.lower() not in _NO_INPUT:
        question = f"{question}\n\n{given}"
    return (Turn("user", question), *([Turn("assistant", answer)] if answer else []))


def _read_persona_hub(row: _Row) -> tuple[Turn, ...] | Reject:
    value = next((row[name] for name in _SYNTHESISED if name in row), None)
    question = read_text(value, _SYNTHESISED[0])
    if isinstance(question, Reject):
        return question
    question = strip_prompt_label(question)
    return (Turn("user", question),) if question else Reject("missing_text", "the text is empty")


def strip_prompt_label(text: str) -> str:
    """Return a synthesised prompt without its leading "User prompt:", bold or not."""
    label = _PROMPT_LABEL.match(text)
    return text[label.end() :].strip() if label else text.strip()


def _read_chat(column: str) -> Callable[[_Row], tuple[Turn, ...] | Reject]:
    return lambda row: read_turns(row.get(column), column)


_READERS: dict[Format, Callable[[_Row], tuple[Turn, ...] | Reject]] = {
    "alpaca": _read_alpaca,
    "lima": _read_chat("conversations"),
    "persona_hub": _read_persona_hub,
    "messages": _read_chat("messages"),
}
