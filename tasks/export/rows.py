"""Shapes the rows of the released files (PAPER.md section 5) from characters and dialogues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from infra.store.schema import arrow_schema, from_plain, to_table
from tasks.records import BroughtCharacter, Character, Turn


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


def make_dialogue_rows(dialogues: pl.DataFrame, cast: pl.DataFrame) -> pl.DataFrame:
    """Return a :class:`DialogueRow` for every played turn, by dialogue key.

    ``cast`` is that of :func:`list_cast`; dialogues of unknown characters are left out.
    """
    content = pl.col("turns").list.get(pl.col("place")).struct.field("content")
    asked = pl.col("turns").list.get(pl.col("place") - 1).struct.field("content")
    role = pl.col("turns").list.get(pl.col("place")).struct.field("role")
    first = pl.max_horizontal("context_turns", 1)
    return (
        dialogues.sort("key")
        .join(cast, on="character_key", maintain_order="left")
        .with_columns(place=pl.int_ranges(first, pl.col("turns").list.len()))
        .explode("place")
        .filter(role == "assistant")
        .with_columns(
            question_source="corpus",
            question=asked,
            character_answer=content,
            dialogue_id="key",
            turn=pl.int_range(pl.len(), dtype=pl.Int64).over("key"),
            history=pl.col("turns").list.head(pl.col("place") - 1),
        )
        .select(arrow_schema(DialogueRow).names)
    )


def make_sft_rows(examples: pl.DataFrame, cast: pl.DataFrame) -> pl.DataFrame:
    """Return examples as :class:`SftRow`, by key; ``cast`` is that of :func:`list_cast`."""
    known = cast.select("character_key", "character_id")
    return (
        examples.sort("key")
        .join(known, on="character_key", how="left", maintain_order="left")
        .with_columns(
            dialogue_id="dialogue_key",
            character_id=pl.coalesce("character_id", "character_key"),
        )
        .select(arrow_schema(SftRow).names)
    )


def list_cast(characters: Mapping[str, CharacterRow]) -> pl.DataFrame:
    """Return the characters' rows as a frame, each under its ``character_key``."""
    rows = pl.from_arrow(to_table(CharacterRow, characters.values()))
    keys = pl.Series("character_key", list(characters), pl.String)
    return pl.DataFrame(rows).insert_column(0, keys)
