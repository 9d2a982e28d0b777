"""Reads what endpoints send back: completions in their many shapes, errors, and anything else.

Nothing that a server sends raises here. What is no completion is named, so that the message a
person reads says what came.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from infra.protocol import Completion

EXCERPT_CHARS = 200
_MOST_WAIT_S = 1e9
_FINISHED = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "end": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "max_completion_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "token_limit": "length",
    "incomplete": "length",
    **dict.fromkeys(
        (
            "content_filter", "content_filtered", "filtered", "safety", "recitation", "blocklist",
            "blocked", "prohibited_content", "spii", "sensitive", "guardrail_intervened",
            "moderation", "error_toxic", "refusal",
        ),
        "refusal",
    ),
}  # fmt: skip
_REASONING = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_PARTS = ("thinking", "reasoning", "thought", "redacted_thinking")

Counter = Callable[[str], int]
"""Counts the tokens of what a model wrote; for replies without ``usage``."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Successful reply that is no completion, with what came instead."""

    why: str
    broke_off: bool = False


@dataclass(frozen=True, slots=True)
class ServerError:
    """What an error body says; ``status`` is a number that a gateway wrote into a 200."""

    text: str
    code: str
    status: int | None


def parse_json(content: bytes) -> object:
    """Return a body's JSON, or nothing where it holds none that can be read."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def decode_text(content: bytes) -> str:
    """Return a body as text, whatever its bytes are."""
    return content.decode("utf-8", errors="replace")


def shorten(text: str) -> str:
    """Return an excerpt of foreign text for a message: one printable line, bounded."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"


def read_error(body: object) -> ServerError | None:
    """Return the error that a body tells of, if it is one."""
    if isinstance(body, list) and len(body) == 1:  # as Gemini's compatible endpoint sends it
        body = body[0]
    if not isinstance(body, Mapping) or not body.get("error"):
        return None
    error = body["error"]
    if not isinstance(error, Mapping):
        return ServerError(_write(error), str(body.get("code") or ""), None)
    told = error.get("code")
    code = str(told or error.get("type") or "")
    text = error.get("message") or error.get("detail") or ""
    status = told if isinstance(told, int) and 400 <= told < 600 else None
    return ServerError(text if isinstance(text, str) else _write(text), code, status)


def read_completion(body: object, count: Counter | None = None) -> Completion | Unreadable:
    """Read a completion; reasoning is kept apart from the text.

    Where the server reports no usage, ``count`` counts what the model wrote.
    """
    if not isinstance(body, Mapping):
        return Unreadable("not a JSON object")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return Unreadable("without choices")
    choice = choices[0]
    if not isinstance(choice, Mapping):
        return Unreadable("with a choice that is no object")
    reason = str(choice.get("finish_reason") or "stop").lower()
    if reason in ("abort", "error"):  # vLLM on its way down answers 200 with half a text.
        return Unreadable(reason, broke_off=True)
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):  # a completion of token ids
        message = {"content": choice["text"]}
    if not isinstance(message, Mapping):
        return Unreadable("without a message")
    text, reasoning = read_parts(message)
    refusal = message.get("refusal")
    finish = _FINISHED.get(reason, shorten(reason))
    if finish == "refusal":
        text = ""  # what a filter cut short is no answer
    elif isinstance(refusal, str) and refusal:
        text, finish = text or refusal, "refusal"
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("prompt_tokens_details")
    cached = _read_count(details.get("cached_tokens") if isinstance(details, Mapping) else 0)
    prompt, written = (
        _read_count(usage.get(f"{part}_tokens")) for part in ("prompt", "completion")
    )
    if written or not (text or reasoning):  # a zero beside a text is no count
        return Completion(text, finish, prompt, written, cached, reasoning=reasoning)
    written = count(text + reasoning) if count is not None else 0
    return Completion(text, finish, prompt, written, cached, reasoning=reasoning, estimated=True)


def read_parts(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the reasoning of a message, or of a piece of one."""
    content = message.get("content")
    text, thoughts = "", []
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        text = "".join(_read_part(part) for part in content if not _is_thought(part))
        thoughts = [_read_part(part) for part in content if _is_thought(part)]
    elif isinstance(content, Mapping):
        text = _read_part(content)
    for name in _REASONING:
        said = message.get(name)
        if isinstance(said, str) and said:
            thoughts.append(said)
            break
    return text, "".join(thoughts)


def read_finish(reason: object) -> str | None:
    """Return why an answer ended, in this project's words."""
    if not isinstance(reason, str) or not reason:
        return None
    return _FINISHED.get(reason.lower(), shorten(reason.lower()))


def read_retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Return how long the server asks us to wait: ``Retry-After`` as seconds or HTTP date."""
    milliseconds = headers.get("retry-after-ms", "")
    value = headers.get("retry-after", "").strip()
    for text, scale in ((milliseconds, 1e-3), (value, 1.0)):
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if 0 <= seconds < _MOST_WAIT_S:
            return seconds
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _read_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    for name in ("text", *_THOUGHT_PARTS):
        said = part.get(name)
        if isinstance(said, str):
            return said
        if isinstance(said, list):
            return "".join(item if isinstance(item, str) else _read_text(item) for item in said)
    return ""


def _read_text(item: object) -> str:
    said = item.get("text") if isinstance(item, Mapping) else None
    return said if isinstance(said, str) else ""


def _is_thought(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _THOUGHT_PARTS


def _read_count(value: object) -> int:
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 2**53:
        return int(value)
    return 0


def _write(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "an error that cannot be shown"
