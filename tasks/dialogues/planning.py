"""Plans which dialogues there are to be: pairs of questions and characters, with row keys."""

from __future__ import annotations

import polars as pl

from infra.fingerprints import row_key
from infra.row_store import parents_digest
from infra.schema import arrow_schema
from tasks.dialogues.generation import DialogueInput
from tasks.dialogues.pairing import choose_characters
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
    chosen = choose_characters(
        [item.key for item in instructions],
        [item.persona_key for item in characters],
        per_question,
        seed,
    )
    cast = _cast_frame(characters)
    asked = _question_frame(instructions)
    pairs = pl.DataFrame(
        {
            "question_row": pl.Series(range(len(instructions)), dtype=pl.Int64)
            .repeat_by(per_question)
            .explode(),
            "character_row": pl.Series(chosen.reshape(-1), dtype=pl.Int64),
        }
    )
    joined = pairs.join(cast, on="character_row").join(asked, on="question_row")
    keys = [
        row_key(recipe, [character, instruction])
        for character, instruction in joined.select("character_key", "instruction_key").iter_rows()
    ]
    digests = [
        parents_digest(*both)
        for both in joined.select("character_digest", "question_digest").iter_rows()
    ]
    columns = [field.name for field in arrow_schema(DialogueInput) if field.name != "key"]
    return joined.with_columns(
        pl.Series("key", keys, dtype=pl.String),
        pl.Series("parents_digest", digests, dtype=pl.String),
        pl.col("character_key").alias("group"),
    ).select("key", "parents_digest", "group", *columns)


def _cast_frame(characters: list[Character]) -> pl.DataFrame:
    profiles = [item.profile for item in characters]
    return pl.DataFrame(
        {
            "character_row": range(len(characters)),
            "character_key": [item.key for item in characters],
            "persona_key": [item.persona_key for item in characters],
            "persona": [item.persona for item in characters],
            "profile": profiles,
            "character_digest": [
                parents_digest(item.persona, profile)
                for item, profile in zip(characters, profiles, strict=True)
            ],
        },
        schema_overrides={"character_row": pl.Int64},
    )


def _question_frame(instructions: list[Instruction]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "question_row": range(len(instructions)),
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
        schema_overrides={"question_row": pl.Int64, "context_turns": pl.Int64},
    )
