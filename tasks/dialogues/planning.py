"""Plans which dialogues there are to be: pairs of questions and characters, with row keys."""

from __future__ import annotations

import polars as pl

from infra.store.fingerprints import row_key
from infra.store.row_store import parents_digest
from infra.store.schema import arrow_schema
from tasks.dialogues.pairing import choose_characters
from tasks.dialogues.playing import DialogueInput
from tasks.records import Character, Instruction


def plan_dialogues(
    recipe: str,
    characters: list[Character],
    instructions: list[Instruction],
    *,
    per_question: int,
    seed: int,
) -> pl.DataFrame:
    """Return the planned rows of one strategy, with the columns of :class:`DialogueInput`.

    A row's digest covers what its prompt is rendered from: persona, profile and turns.
    """
    characters = sorted(characters, key=lambda item: item.key)
    instructions = sorted(instructions, key=lambda item: item.key)
    pairs = plan_pairs(
        recipe,
        [item.key for item in characters],
        [item.persona_key for item in characters],
        [item.key for item in instructions],
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
    pairs = [
        (character_keys[position], instruction)
        for instruction, row in zip(instruction_keys, chosen.tolist(), strict=True)
        for position in row
    ]
    return pl.DataFrame(
        {
            "key": [row_key(recipe, list(pair)) for pair in pairs],
            "character_key": [pair[0] for pair in pairs],
            "instruction_key": [pair[1] for pair in pairs],
        },
        schema=dict.fromkeys(("key", "character_key", "instruction_key"), pl.String),
    )


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


def _question_frame(instructions: list[Instruction]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "instruction_key": [item.key for item in instructions],
            "corpus": [item.corpus for item in instructions],
            "question_id": [item.question_id for item in instructions],
            "context_turns": [item.context_turns for item in instructions],
            "turns": [
                [{"role": turn.role, "content": turn.content} for turn in item.turns]
                for item in instructions
            ],
            "question_digest": [
                parents_digest(
                    str(item.context_turns),
                    *(text for turn in item.turns for text in (turn.role, turn.content)),
                )
                for item in instructions
            ],
        },
        schema={
            **dict.fromkeys(("instruction_key", "corpus", "question_id"), pl.String),
            "context_turns": pl.Int64,
            "turns": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
            "question_digest": pl.String,
        },
    )
