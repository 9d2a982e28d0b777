"""Knows what every strategy plays from and what it makes: a scene, and its dialogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.generation.stage_worker import RowMaker
from infra.rendering.prompts import PromptTemplate
from tasks.records import Dialogue, Turn


@dataclass(frozen=True)
class Strategy:
    """Way of playing dialogues: its name in configurations, and how its player is made.

    ``version`` counts the changes of its player that change dialogues. ``shows`` is what its
    prompt shows of the instruction, beside persona and profile. ``make_player`` takes the knobs,
    the prompt and the teacher's name. ``needs_answers`` says that only instructions with a source
    answer can be played.
    """

    name: str
    version: int
    shows: str
    make_player: Callable[[Any, PromptTemplate, str], RowMaker[Any]]
    needs_answers: bool = False


@dataclass(frozen=True, slots=True)
class DialogueInput:
    """What a dialogue is played from: a character, and an instruction's turns."""

    key: str
    character_key: str
    persona_key: str
    persona: str
    profile: str
    instruction_key: str
    corpus: str
    question_id: str
    context_turns: int
    turns: tuple[Turn, ...]


def find_speaker(profile: str) -> str:
    """Return the name that a printed profile begins with, or nothing."""
    label, colon, name = profile.partition("\n")[0].partition(":")
    return name.strip() if colon and label.strip().lower() == "name" else ""


def finish_dialogue(
    key: str,
    strategy: str,
    row: DialogueInput,
    turns: list[Turn],
    teacher: str,
    *,
    truncated: bool = False,
    restored: bool = False,
) -> Dialogue:
    """Build the record of a played dialogue."""
    return Dialogue(
        key=key,
        strategy=strategy,
        character_key=row.character_key,
        persona_key=row.persona_key,
        instruction_key=row.instruction_key,
        corpus=row.corpus,
        question_id=row.question_id,
        context_turns=row.context_turns,
        turns=tuple(turns),
        user_turns_restored=restored,
        truncated=truncated,
        teacher=teacher,
    )
