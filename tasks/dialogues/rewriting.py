"""Plays a dialogue by rewriting (strategy R): one call for the whole dialogue, JSON back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from infra.asking import RowSession
from infra.engines.protocol import Completion
from infra.errors import Reject
from infra.prompts import PromptTemplate
from tasks.dialogues.generation import DialogueInput, finish_dialogue
from tasks.records import Dialogue, Turn

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FENCE = re.compile(r"^```[a-z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Is a rewritten dialogue; ``restored`` says that a user turn had to be put back."""

    turns: tuple[Turn, ...]
    restored: bool


@dataclass(frozen=True)
class RewritePlayer:
    """Makes a :class:`Dialogue` by rewriting every assistant turn of the source."""

    inputs: ClassVar[type[DialogueInput]] = DialogueInput
    record: ClassVar[type[Dialogue]] = Dialogue

    prompt: PromptTemplate
    teacher: str
    structured: bool
    max_turn_chars: int

    async def make(self, key: str, row: DialogueInput, session: RowSession) -> Dialogue | Reject:
        """Ask for the whole dialogue at once; context turns are shown, and kept as they are."""
        values = {
            "persona": row.persona,
            "profile": row.profile,
            "dialog": print_dialog(row.turns),
        }
        schema = dialog_schema(row.turns, self.max_turn_chars) if self.structured else None
        read = partial(read_rewriting, source=row.turns, context_turns=row.context_turns)
        rewriting = await session.ask(self.prompt.render(values), read, schema=schema)
        if isinstance(rewriting, Reject):
            return rewriting
        return finish_dialogue(
            key, "rewrite", row, list(rewriting.turns), self.teacher, restored=rewriting.restored
        )


def print_dialog(turns: Sequence[Turn]) -> str:
    """Print a dialogue as the compact JSON list the prompt shows and the answer repeats."""
    plain = [{"role": turn.role, "content": turn.content} for turn in turns]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def dialog_schema(turns: Sequence[Turn], max_turn_chars: int) -> dict[str, Any]:
    """Return the JSON schema of an answer: as many turns, the same roles, bounded strings.

    It depends on the number of turns only, so that engines compile few grammars.
    """
    items = [
        {
            "type": "object",
            "properties": {
                "role": {"const": turn.role},
                "content": {"type": "string", "minLength": 1, "maxLength": max_turn_chars},
            },
            "required": ["role", "content"],
            "additionalProperties": False,
        }
        for turn in turns
    ]
    return {
        "type": "array",
        "prefixItems": items,
        "items": False,
        "minItems": len(items),
        "maxItems": len(items),
    }


def read_rewriting(
    completion: Completion, *, source: Sequence[Turn], context_turns: int
) -> Rewriting | Reject:
    """Read the rewritten dialogue; user and context turns that changed are restored and marked."""
    if completion.finish_reason == "length":
        return Reject("truncated", "the rewritten dialogue ran into the token limit")
    found = _read_list(completion.text)
    if isinstance(found, Reject):
        return found
    if len(found) != len(source):
        return Reject("turn_count", f"{len(found)} turns for {len(source)}")
    turns: list[Turn] = []
    restored = False
    for index, (item, original) in enumerate(zip(found, source, strict=True)):
        if not isinstance(item, dict) or item.get("role") != original.role:
            return Reject("wrong_role", f"turn {index} is not by the {original.role}")
        content = item.get("content")
        if not isinstance(content, str) or not content.strip():
            return Reject("empty", f"turn {index} has no text")
        if original.role == "user" or index < context_turns:
            restored = restored or (
                original.role == "user" and content.strip() != original.content.strip()
            )
            turns.append(original)
        else:
            turns.append(Turn("assistant", _CONTROL.sub(" ", content).strip()))
    return Rewriting(tuple(turns), restored)


def _read_list(text: str) -> list[Any] | Reject:
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced.group(1).strip()
    start = min((index for index in (text.find("["), text.find("{")) if index >= 0), default=-1)
    if start < 0:
        return Reject("not_json", text[:80])
    try:
        # Bounded strings let raw control characters through the grammar (measured): not strict.
        data, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except ValueError as error:
        return Reject("not_json", str(error))
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), None)
    return data if isinstance(data, list) else Reject("not_a_list", text[:80])
