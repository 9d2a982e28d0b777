"""Plans which dialogues there are to be: pairs of questions and characters, with row keys."""

from __future__ import annotations

import numpy as np
import polars as pl

from infra.store.fingerprints import row_key
from infra.store.row_store import parents_digest
from infra.store.schema import arrow_schema
from tasks.dialogues.pairing import choose_characters
from tasks.dialogues.playing import DialogueInput
from tasks.records import Character


def plan_dialogues(
    recipe: str,
    characters: list[Character],
    instructions: pl.DataFrame,
    *,
    per_question: int,
    seed: int,
) -> pl.DataFrame:
    """Return the planned rows of one strategy, with the columns of :class:`DialogueInput`.

    ``instructions`` has the columns of :class:`~tasks.records.Instruction`. A row's digest covers
    what its prompt is rendered from: persona, profile and turns.
    """
    characters = sorted(characters, key=lambda item: item.key)
    instructions = instructions.sort("key")
    pairs = plan_pairs(
        recipe,
        [item.key for item in characters],
        [item.persona_key for item in characters],
        instructions["key"].to_list(),
        per_question=per_question,
        seed=seed,
    )
    joined = pairs.join(_cast_frame(characters), on="character_key").join(
        _question_frame(instructions), on="instruction_key"
    )
    digests = [
        parents_digest(*both)
        for both in joined.select("character_digest", "question_digest").iter_rows()
    ]
    columns = [field.name for field in arrow_schema(DialogueInput) if field.name != "key"]
    return joined.with_columns(
        pl.Series("parents_digest", digests, dtype=pl.String),
        pl.col("character_key").alias("group"),
    ).select("key", "parents_digest", "group", *columns)


def plan_pairs(
    recipe: str,
    character_keys: list[str],
    persona_keys: list[str],
    instruction_keys: list[str],
    *,
    per_question: int,
    seed: int,
) -> pl.DataFrame:
    """Return who answers what: key, character_key, instruction_key; known before any text is."""
    chosen = choose_characters(instruction_keys, persona_keys, per_question, seed)
    characters = pl.Series("character_key", character_keys, pl.String)
    instructions = pl.Series("instruction_key", instruction_keys, pl.String)
    pairs = pl.DataFrame(
        [
            characters.gather(chosen.ravel()),
            instructions.gather(np.repeat(np.arange(len(instruction_keys)), per_question)),
        ]
    )
    keys = [row_key(recipe, pair) for pair in pairs.iter_rows()]
    return pairs.insert_column(0, pl.Series("key", keys, pl.String))


def _cast_frame(characters: list[Character]) -> pl.DataFrame:
    profiles = [item.profile for item in characters]
    return pl.DataFrame(
        {
            "character_key": [item.key for item in characters],
            "persona_key": [item.persona_key for item in characters],
            "persona": [item.persona for item in characters],
            "profile": profiles,
            "character_digest": [
                parents_digest(item.persona, profile)
                for item, profile in zip(characters, profiles, strict=True)
            ],
        },
    )


def _question_frame(instructions: pl.DataFrame) -> pl.DataFrame:
    digests = [
        parents_digest(
            str(given), *(text for turn in turns for text in (turn["role"], turn["content"]))
        )
        for given, turns in instructions.select("context_turns", "turns").iter_rows()
    ]
    return instructions.select(
        pl.col("key").alias("instruction_key"),
        "corpus",
        "question_id",
        "context_turns",
        "turns",
        pl.Series("question_digest", digests, pl.String),
    )
