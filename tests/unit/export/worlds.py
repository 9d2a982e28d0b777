"""Builds a small run to export, nasty text included."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import polars as pl

from infra.store.schema import to_table
from infra.store.storage import Storage
from tasks.export.card import Count, PromptFacts, Provenance, SourceFacts, StageFacts
from tasks.export.config import ExportConfig
from tasks.export.dataset import Export, export_dataset
from tasks.records import Character, Dialogue, Example, Split, Turn

NASTY = '{{ x }} {% y %} <|eot_id|>\n<script>|`*\u2028\x85\u05e9\u05dc\u05d5\u05dd \U0001f642 \\n "'


def make_character(key: str, persona: str = NASTY) -> Character:
    return Character(
        key=key,
        persona_key=f"p-{key}",
        persona=persona,
        name="Ada",
        age="41",
        gender="Female",
        race="Italian",
        birth_place="Rome",
        appearance=NASTY,
        general_experience="Baking.",
        personality="Warm.",
    )


def make_dialogue(key: str, character: str, *texts: str, context_turns: int = 0) -> Dialogue:
    roles = ("user", "assistant")
    return Dialogue(
        key=key,
        strategy="generate",
        character_key=character,
        persona_key=f"p-{character}",
        instruction_key="q",
        corpus="demo",
        question_id="7",
        context_turns=context_turns,
        turns=tuple(Turn(roles[n % 2], text) for n, text in enumerate(texts)),  # type: ignore[arg-type]
        user_turns_restored=False,
        truncated=False,
        teacher="tiny",
    )


def make_example(dialogue: Dialogue, split: Split) -> Example:
    return Example(
        key=f"e-{dialogue.key}",
        dialogue_key=dialogue.key,
        character_key=dialogue.character_key,
        split=split,
        with_profile=True,
        context_turns=dialogue.context_turns,
        messages=(Turn("system", NASTY), *dialogue.turns),
    )


CHARACTERS = (make_character("c1"), make_character("c2", "A sailor"))
DIALOGUES = (
    make_dialogue("d1", "c1", NASTY, NASTY + "!"),
    make_dialogue("d2", "c2", "q1", "a1", "q2", "a2", "q3", "a3", context_turns=2),
    make_dialogue("d3", "c2", "q", "rejected"),
)
EXAMPLES = (make_example(DIALOGUES[0], "train"), make_example(DIALOGUES[1], "validation"))
PROVENANCE = Provenance(
    run="night | run",
    teachers=("tiny-teacher",),
    demo_teacher=True,
    sources=(
        SourceFacts("personas", "personas", 2, "cc-by-nc-sa-4.0"),
        SourceFacts("demo", "questions", 3),
    ),
    prompts=(PromptFacts("generate.j2", "0123abcd"),),
    stages=(StageFacts("curation", 3, 2, (Count("refusal", 1),)),),
)


def make_frame(record: type[Any], rows: Iterable[Any]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(record, rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def load_card_template() -> str:
    return (files("configs") / "templates" / "dataset_card.md.j2").read_text(encoding="utf-8")


def export_world(
    storage: Storage,
    *,
    characters: Iterable[Character] = CHARACTERS,
    dialogues: Iterable[Dialogue] = DIALOGUES,
    examples: Iterable[Example] = EXAMPLES,
    provenance: Provenance = PROVENANCE,
    scope: str = "curated",
    **knobs: Any,
) -> Export:
    return export_dataset(
        storage,
        "export/x",
        characters=make_frame(Character, characters),
        dialogues=make_frame(Dialogue, dialogues),
        examples=make_frame(Example, examples),
        config=ExportConfig(**{"dialogues": scope, **knobs}),
        card_template=load_card_template(),
        provenance=provenance,
    )
