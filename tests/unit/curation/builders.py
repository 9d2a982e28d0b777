"""Builds small worlds of characters, questions and dialogues."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import as_file, files
from typing import Any

import polars as pl

from infra.rendering.prompts import PromptTemplate
from infra.store.schema import to_table
from tasks.curation.config import CurationConfig
from tasks.curation.curate import Curation, curate
from tasks.curation.inputs import CurationInputs
from tasks.records import Character, Dialogue, Instruction, Turn

ADA = "a1"
BOB = "b2"


def make_character(key: str, name: str, persona: str = "A baker from Rome") -> Character:
    return Character(
        key=key,
        persona_key=f"persona-{key}",
        persona=persona,
        name=name,
        age="41",
        gender="Female",
        race="Italian",
        birth_place="Rome",
        appearance="Small and quick, with flour up to her elbows from dawn to noon.",
        general_experience=(
            "She learned the trade from her aunt, ran away to sea for two years, came home, and "
            "has kept the oven of the old bakery by the river burning ever since that winter."
        ),
        personality="Warm, blunt and curious.",
    )


def make_turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(
        Turn("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)
    )


def make_dialogue(
    key: str,
    *texts: str,
    character: str = ADA,
    strategy: str = "generate",
    instruction: str = "q",
    context_turns: int = 0,
    truncated: bool = False,
) -> Dialogue:
    return Dialogue(
        key=key,
        strategy=strategy,
        character_key=character,
        persona_key=f"persona-{character}",
        instruction_key=instruction,
        corpus="demo",
        question_id="1",
        context_turns=context_turns,
        turns=make_turns(*texts),
        user_turns_restored=False,
        truncated=truncated,
        teacher="teacher",
    )


def make_frame(record: type[Any], rows: Iterable[Any]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(record, rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def load_template() -> PromptTemplate:
    with as_file(files("configs") / "prompts" / "roleplay.j2") as path:
        return PromptTemplate.load(path)


def curate_rows(
    *dialogues: Dialogue,
    characters: Iterable[Character] = (),
    instructions: Iterable[Instruction] = (),
    inputs: CurationInputs | None = None,
    **knobs: Any,
) -> Curation:
    cast = list(characters) or [
        make_character(ADA, "Ada Vance"),
        make_character(BOB, "Bob Stone", "A sailor from Cork"),
    ]
    return curate(
        make_frame(Dialogue, dialogues),
        make_frame(Character, cast),
        make_frame(Instruction, instructions),
        config=CurationConfig(**knobs),
        template=load_template(),
        recipe="recipe",
        inputs=inputs,
    )
