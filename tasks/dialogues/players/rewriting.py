"""Plays a dialogue by rewriting (strategy R): one call for the whole dialogue, JSON back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate
from infra.text.chat_marks import ends_openly
from infra.text.json_answers import find_json
from infra.text.speech import StageDirections, read_speech
from infra.text.text_cleaning import drop_terminal_codes
from tasks.dialogues.config import RewriteConfig
from tasks.dialogues.playing import DialogueInput, Strategy, find_speaker, finish_dialogue
from tasks.records import Dialogue, Turn

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewritten dialogue; ``restored`` says that a user turn had to be put back."""

    turns: tuple[Turn, ...]
    restored: bool


@dataclass(frozen=True)
class RewritePlayer:
    """Player that makes a :class:`Dialogue` by rewriting every assistant turn of the source."""

    inputs: ClassVar[type[DialogueInput]] = DialogueInput
    parents: ClassVar[tuple[str, ...]] = ("character_key", "instruction_key")
    record: ClassVar[type[Dialogue]] = Dialogue

    prompt: PromptTemplate
    teacher: str
    structured: bool
    max_turn_chars: int
    stage_directions: StageDirections = "trim"
    checked: bool = True

    async def make(self, key: str, row: DialogueInput, session: RowSession) -> Dialogue | Reject:
        """Ask for the whole dialogue at once; context turns are shown, and kept as they are."""
        values = {
            "persona": row.persona,
            "profile": row.profile,
            "dialog": print_dialog(row.turns),
        }
        schema = dialog_schema(row.turns, self.max_turn_chars) if self.structured else None
        read = partial(
            read_rewriting,
            source=row.turns,
            context_turns=row.context_turns,
            speaker=find_speaker(row.profile),
            stage_directions=self.stage_directions,
            checked=self.checked,
        )
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
    completion: Completion,
    *,
    source: Sequence[Turn],
    context_turns: int,
    speaker: str = "",
    stage_directions: StageDirections = "trim",
    checked: bool = True,
) -> Rewriting | Reject:
    """Read the rewritten dialogue; user and context turns that changed are restored and marked.

    The reasons: filtered, truncated, not_json, not_a_list, turn_count, wrong_role, and those of
    :func:`infra.text.speech.read_speech` for each turn that the character speaks.
    """
    if completion.finish_reason == "content_filter":
        return Reject("filtered", completion.text[-100:])
    if completion.finish_reason == "length":
        return Reject("truncated", "the rewritten dialogue ran into the token limit")
    ended = completion.finish_reason == "stop"
    found = _read_list(completion.text, len(source), ended=ended)
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
            said = read_speech(
                _CONTROL.sub(" ", drop_terminal_codes(content)),
                speaker=speaker,
                question=turns[-1].content if turns else "",
                stage_directions=stage_directions,
                checked=checked,
            )
            if isinstance(said, Reject):
                return Reject(said.reason, f"turn {index}: {said.detail}")
            turns.append(Turn("assistant", said))
    return Rewriting(tuple(turns), restored)


def _read_list(text: str, length: int, *, ended: bool) -> list[Any] | Reject:
    """Return the list of turns in an answer: of several the first that is as long as asked for.

    One that the model has ``ended`` by itself may lack its last brackets, if not its last words.
    """

    def fits(value: object) -> bool:
        return len(_get_list(value) or ()) == length

    data = find_json(text, fits)
    if isinstance(data, Reject) and ended:
        closed = find_json(text, fits, ended=True)
        last = (_get_list(closed) or [None])[-1]
        said = last.get("content") if isinstance(last, dict) else None
        if isinstance(said, str) and not ends_openly(said):
            data = closed
    if isinstance(data, Reject):
        return data
    found = _get_list(data)
    return Reject("not_a_list", text[:80]) if found is None else found


def _get_list(data: object) -> list[Any] | None:
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), None)
    return data if isinstance(data, list) else None


def _make_player(config: RewriteConfig, prompt: PromptTemplate, teacher: str) -> RewritePlayer:
    return RewritePlayer(
        prompt,
        teacher,
        config.structured,
        config.max_turn_chars,
        config.stage_directions,
        config.check_speech,
    )


STRATEGY = Strategy("rewrite", 3, "dialog", _make_player, needs_answers=True)
