"""Shapes the rows of the released files (PAPER.md section 5) from characters and dialogues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from infra.store.schema import from_plain
from tasks.records import BroughtCharacter, Character, Turn

_BLOCK_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class CharacterRow:
    """One line of ``synthetic_character``; ``character`` is the profile as text."""

    character_id: str
    persona: str
    character: str


@dataclass(frozen=True, slots=True)
class DialogueRow:
    """One line of ``synthetic_dialogue``: one turn that the character played.

    Attributes:
        question_source: Corpus of the question.
        question: The user turn that is answered.
        turn: Index of the answer among the played turns of its dialogue, from 0.
        history: All turns before the question.
    """

    character_id: str
    persona: str
    character: str
    question_source: str
    question_id: str
    question: str
    character_answer: str
    dialogue_id: str
    turn: int
    history: tuple[Turn, ...]
    strategy: str


@dataclass(frozen=True, slots=True)
class SftRow:
    """One training example in ``messages`` form, the system prompt first.

    ``context_turns`` counts the turns after the system prompt that carry no loss.
    """

    key: str
    dialogue_id: str
    character_id: str
    with_profile: bool
    context_turns: int
    messages: tuple[Turn, ...]


def make_character_rows(characters: pl.DataFrame) -> dict[str, CharacterRow]:
    """Return the rows by character key, sorted by it; brought ones keep the id they came with."""
    if characters.is_empty():
        return {}
    rows = {}
    for plain in characters.sort("key").iter_rows(named=True):
        character = from_plain(Character, plain)
        own = character.own_id if isinstance(character, BroughtCharacter) else ""
        rows[character.key] = CharacterRow(
            own or character.key, character.persona, character.profile
        )
    return rows


def make_dialogue_rows(
    dialogues: pl.DataFrame, characters: dict[str, CharacterRow]
) -> Iterator[DialogueRow]:
    """Yield a row for every played turn, by dialogue key; unknown characters are left out."""
    if dialogues.is_empty():
        return
    columns = (
        "key", "character_key", "corpus", "question_id", "context_turns", "strategy", "turns",
    )  # fmt: skip
    for block in dialogues.select(columns).sort("key").iter_slices(_BLOCK_ROWS):
        for key, character_key, corpus, question_id, given, strategy, turns in block.iter_rows():
            character = characters.get(character_key)
            if character is None:
                continue
            for turn, (question, answer, history) in enumerate(_cut_turns(_revive(turns), given)):
                yield DialogueRow(
                    character_id=character.character_id,
                    persona=character.persona,
                    character=character.character,
                    question_source=corpus,
                    question_id=question_id,
                    question=question,
                    character_answer=answer,
                    dialogue_id=key,
                    turn=turn,
                    history=history,
                    strategy=strategy,
                )


def make_sft_rows(
    examples: pl.DataFrame, split: str, characters: Mapping[str, CharacterRow]
) -> Iterator[SftRow]:
    """Yield the examples of one split by key."""
    if examples.is_empty():
        return
    columns = (
        "key", "dialogue_key", "character_key", "with_profile", "context_turns", "messages",
    )  # fmt: skip
    chosen = examples.filter(pl.col("split") == split).select(columns).sort("key")
    for block in chosen.iter_slices(_BLOCK_ROWS):
        for key, dialogue, character, with_profile, given, messages in block.iter_rows():
            known = characters.get(character)
            character_id = known.character_id if known else character
            yield SftRow(key, dialogue, character_id, with_profile, given, _revive(messages))


def _cut_turns(turns: tuple[Turn, ...], given: int) -> Iterator[tuple[str, str, tuple[Turn, ...]]]:
    for index in range(max(given, 1), len(turns)):
        if turns[index].role == "assistant":
            yield turns[index - 1].content, turns[index].content, turns[: index - 1]


def _revive(turns: Sequence[dict[str, str]]) -> tuple[Turn, ...]:
    return tuple(Turn(turn["role"], turn["content"]) for turn in turns)  # type: ignore[arg-type]
