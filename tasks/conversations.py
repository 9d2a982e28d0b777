"""Knows how a conversation reads, whoever wrote it down: roles, texts, and who speaks when."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.errors import Reject
from infra.store.fingerprints import content_key
from infra.text.text_cleaning import clean_text
from infra.thoughts.parting import part_thought
from tasks.records import Turn

Role = Literal["system", "user", "assistant", "tool"]

_SHOWN_CHARS = 200
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "question", "instruction"), "user"),
    **dict.fromkeys(
        (
            "assistant", "bot", "chatbot", "model", "ai", "llm", "bing", "bard", "palm", "answer",
            "response", "character", "char",
        ),
        "assistant",
    ),
    **dict.fromkeys(
        (
            "tool", "function", "function_call", "function_response", "function-call",
            "function-response", "tool_call", "tool_calls", "tool_response", "tool-response",
            "tool_result", "observation", "ipython",
        ),
        "tool",
    ),
}  # fmt: skip
_MODELS = ("gpt", "chatgpt", "claude", "llama", "gemini", "mistral", "qwen", "deepseek")
_ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
_TEXT_KEYS = ("content", "value", "text", "message", "utterance", "parts")
_PAIR_KEYS = (
    ("input", "output"), ("human", "assistant"), ("user", "assistant"), ("question", "answer"),
    ("prompt", "response"), ("instruction", "output"), ("human", "gpt"), ("prompt", "completion"),
)  # fmt: skip
_BY_USER = ("is_human", "is_user")
_WITHIN = ("messages", "conversations", "conversation", "contents", "turns", "dialogue", "chat")
_CALLS = ("tool_calls", "function_call")
_TEXT_PARTS = ("text", "input_text", "output_text")
_SILENT_PARTS = ("thinking", "redacted_thinking", "reasoning", "tool_use", "tool_result")
"""Parts that are no speech: thoughts, and what is said to tools and by them."""

_MOST_LITERAL_CHARS = 1 << 20
_PRINTED_GAP = re.compile(r"\}\s*\n\s*\{")
_PRINTED_ARRAY = re.compile(r"\barray\(|,\s*dtype=\w+\)")
_TOLD_TOOLS = re.compile(
    r"<(tool_call|tool_response|function_call|function_response|tool_calls)>.*?</\1>"
    r"|<functioncall>.*?(?:<\|endoftext\|>|\Z)",
    re.DOTALL,
)

SYSTEM_LEFT, TOOLS_LEFT = "system prompts", "tool calls and results"
"""What is left out of a conversation and told once."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Turns of a conversation, user first and roles alternating, and what was left out of it."""

    turns: tuple[Turn, ...]
    left_out: frozenset[str] = frozenset()


def read_turns(items: object, what: str) -> tuple[Turn, ...] | Reject:
    """Return a conversation's turns, user first and roles alternating, or why there are none."""
    talk = read_talk(items, what)
    return talk if isinstance(talk, Reject) else talk.turns


def read_talk(items: object, what: str) -> Talk | Reject:
    """Read a conversation: a list of turns, a struct of lists, or either as JSON text.

    A turn is a mapping of role and text, a text alone, or a pair of question and answer. System
    turns are left out, for characters bring their own system prompt; so are tool calls with their
    results, which are no speech, and an empty answer at the end. ``what`` is the list's name. The
    reasons are malformed, missing_text, roles_not_alternating and no_user_turn.
    """
    given = list_turns(items)
    if given is None:
        return Reject("malformed", f"{what} is not a list: {show(items)}")
    turns: list[Turn] = []
    left_out: set[str] = set()
    broken_off = False
    for index, item in enumerate(_part_pairs(given)):
        turn = _read_turn(item, index)
        if isinstance(turn, Reject):
            return turn
        role, text, calls = turn
        if calls:
            left_out.add(TOOLS_LEFT)
        if role == "system":
            left_out.add(SYSTEM_LEFT)
        elif role == "tool" or (calls and not text):
            broken_off = True
        elif broken_off and turns and turns[-1].role == role == "assistant":
            # What is said before and after a tool was asked is one answer.
            said = "\n\n".join(part for part in (turns[-1].content, text) if part)
            turns[-1] = Turn("assistant", said)
        else:
            turns.append(Turn(role, text))
            broken_off = calls
    checked = _check_turns(turns)
    return checked if isinstance(checked, Reject) else Talk(checked, frozenset(left_out))


def list_turns(items: object) -> list[object] | None:
    """Return what stands for turns in a value, or ``None`` if it is no conversation."""
    if isinstance(items, str):
        items = parse_text(items)
    if isinstance(items, Mapping):
        inner = next((items[key] for key in _WITHIN if isinstance(items.get(key), list)), None)
        items = _zip_struct(items) if inner is None else inner
    return list(items) if isinstance(items, list | tuple) else None


def parse_text(text: str) -> object:
    """Return the list or mapping that a text spells, as JSON or as Python prints it, or ``None``.

    Lists come so out of CSV files and out of columns that hold text only.
    """
    start = text.lstrip()[:1]
    if start == '"' and text.lstrip()[1:2] in ("[", "{"):
        try:
            inner = json.loads(text)
        except ValueError:
            return None
        return parse_text(inner) if isinstance(inner, str) else None
    if start not in ("[", "{"):
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        if len(text) > _MOST_LITERAL_CHARS:
            return None
        try:
            # NumPy prints no commas between the items of an array.
            plain = _PRINTED_ARRAY.sub("", _PRINTED_GAP.sub("}, {", text.strip()))
            found = ast.literal_eval(plain)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, list | dict) else None


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


def pick(item: Mapping[str, object], names: Sequence[str]) -> object:
    """Return the first value under the names that is filled, or else one that is no null."""
    given = [item[name] for name in names if item.get(name) is not None]
    return next((value for value in given if value != ""), given[0] if given else None)


def _zip_struct(items: Mapping[str, object]) -> list[object] | None:
    """Turn a struct of lists, ``{role: […], content: […]}``, into a list of turns."""
    columns = {key: value for key, value in items.items() if isinstance(value, list | tuple)}
    roles, texts = pick(columns, _ROLE_KEYS), pick(columns, _TEXT_KEYS)
    if not isinstance(roles, list | tuple) or not isinstance(texts, list | tuple):
        return None
    if len(roles) != len(texts):
        return None
    size = len(roles)
    whole = {key: value for key, value in columns.items() if len(value) == size}
    return [{key: value[place] for key, value in whole.items()} for place in range(size)]


def _part_pairs(items: Sequence[object]) -> Iterator[object]:
    """Yield the turns; a pair of texts is a question and its answer, named or not."""
    for item in items:
        if isinstance(item, str) and isinstance(spelt := parse_text(item), Mapping):
            item = spelt
        named = _find_pair(item)
        if named is not None:
            for role, text in zip(("user", "assistant"), named, strict=True):
                yield {"role": role, "content": "" if text is None else text}
        elif isinstance(item, list | tuple) and len(item) == 2:
            for role, text in zip(("user", "assistant"), item, strict=True):
                yield {"role": role, "content": "" if text is None else text}
        else:
            yield item


def _find_pair(item: object) -> tuple[object, object] | None:
    if not isinstance(item, Mapping) or any(item.get(key) for key in _ROLE_KEYS):
        return None
    found = next((pair for pair in _PAIR_KEYS if all(name in item for name in pair)), None)
    return None if found is None else (item[found[0]], item[found[1]])


def _read_turn(item: object, index: int) -> tuple[Role, str, bool] | Reject:
    """Read one turn: its role, its text, and whether a tool is called in it."""
    if isinstance(item, str):
        role: Role = "assistant" if index % 2 else "user"
        return role, read_answer(item) if index % 2 else clean_text(item), False
    if not isinstance(item, Mapping):
        return Reject("malformed", f"turn {index + 1} is no text: {show(item)}")
    if not any(key in item for key in (*_ROLE_KEYS, *_BY_USER)):
        item = {str(key).lower(): value for key, value in item.items()}
    name = pick(item, _ROLE_KEYS)
    told = pick(item, _BY_USER) if name is None else None
    if isinstance(told, bool):
        name = "user" if told else "assistant"
    if isinstance(name, Mapping):  # {"author": {"role": "user"}}
        name = name.get("role")
    found = _find_role(name) if isinstance(name, str) else None
    if found is None:
        return Reject("malformed", f"turn {index + 1} has an unknown role: {show(name)}")
    if found == "tool":
        return "tool", "", True
    calls = any(item.get(key) for key in _CALLS)
    content = pick(item, _TEXT_KEYS)
    if content is None and calls:
        return found, "", True
    parts = _read_content(content, f"turn {index + 1}")
    if isinstance(parts, Reject):
        return parts
    text, silent = parts
    if found == "assistant":
        spoken = _TOLD_TOOLS.sub("", text)
        calls, text = calls or spoken != text, read_answer(spoken)
    if found == "user" and silent and not text:
        return "tool", "", True  # a tool's result in a user's turn
    return found, text, calls or silent


def _find_role(name: str) -> Role | None:
    """Tell a role by its name; a model's own name is the assistant's."""
    lower = name.strip().lower().rstrip("_0123456789")
    return _ROLES.get(lower, "assistant" if lower.startswith(_MODELS) else None)


def _read_content(content: object, what: str) -> tuple[str, bool] | Reject:
    """Return the text of a turn, and whether there are parts for tools beside it."""
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if not isinstance(content, list | tuple):
        text = read_text(content, what)
        return text if isinstance(text, Reject) else (text, False)
    texts, tools = [], False
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _SILENT_PARTS:
            tools = tools or str(kind).startswith("tool")
            continue
        said = pick(part, ("text", "content")) if isinstance(part, Mapping) else None
        if kind not in (None, *_TEXT_PARTS) or not isinstance(said, str):
            return Reject("malformed", f"{what} has a part that is not text: {show(part)}")
        texts.append(said)
    return clean_text("\n".join(text for text in texts if text)), tools


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
