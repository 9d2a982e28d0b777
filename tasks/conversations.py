"""Knows how a conversation reads, whoever wrote it down: roles, texts, and who speaks when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from infra.errors import Reject
from infra.fingerprints import content_key
from infra.text_cleaning import clean_text
from infra.thoughts import part_thought
from tasks.records import Turn

_SHOWN_CHARS = 200
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


def read_turns(items: object, what: str) -> tuple[Turn, ...] | Reject:
    """Return a list's turns, user first and roles alternating, or why there are none.

    A turn is a mapping of role and text, or a text alone. A leading system turn is left out, for
    characters bring their own system prompt, and so is an empty answer at the end. ``what`` is the
    list's name. The reasons are malformed, missing_text, roles_not_alternating and no_user_turn.
    """
    if not isinstance(items, list | tuple):
        return Reject("malformed", f"{what} is not a list: {show(items)}")
    turns: list[Turn] = []
    for index, item in enumerate(items):
        turn = _read_turn(item, index)
        if isinstance(turn, Reject):
            return turn
        turns.append(turn)
    return _check_turns(turns[1:] if turns and turns[0].role == "system" else turns)


def name_instruction(context_turns: int, turns: Sequence[Turn]) -> str:
    """Return the key of the question that a conversation poses after its given turns."""
    content = [text for turn in turns for text in (turn.role, turn.content)]
    return content_key("instruction", str(context_turns), *content)


def read_text(value: object, what: str) -> str | Reject:
    """Return a clean text, or why there is none; it may be empty."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return Reject("missing_text", f"no {what}")
    return Reject("malformed", f"{what} is not text: {show(value)}")


def read_answer(text: str) -> str:
    """Return what an answer of a data set says aloud: every source answer passes here.

    A thought is no part of it, and of an answer that ends within a thought nothing is left.
    """
    speech = part_thought(text)
    return clean_text(speech.text) if speech.closed else ""


def show(value: object) -> str:
    """Return the beginning of any value, for a reason."""
    return repr(value)[:_SHOWN_CHARS]


def _read_turn(item: object, index: int) -> Turn | Reject:
    """Read one turn: a string (roles alternate, user first) or a mapping of role and text."""
    if isinstance(item, str):
        return Turn("assistant", read_answer(item)) if index % 2 else Turn("user", clean_text(item))
    if not isinstance(item, Mapping):
        return Reject("malformed", f"turn {index + 1} is no text: {show(item)}")
    name = item.get("role", item.get("from"))
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        return Reject("malformed", f"turn {index + 1} has an unknown role: {show(name)}")
    content = read_text(item.get("content", item.get("value")), f"turn {index + 1}")
    if isinstance(content, Reject):
        return content
    return Turn(role, read_answer(content) if role == "assistant" else content)


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
