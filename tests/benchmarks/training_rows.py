"""Draws role-play rows from the demo's world, and lays them out for both sides of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import polars as pl

from configs.demo.world.lessons import School
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key
from tasks.curation.examples import ExampleBuilder
from tasks.records import Example, Split, Turn
from tasks.training.config import TrainingConfig
from tasks.training.rows.preparation import Encoded, encode_examples

DATA = "data"
"""The folder of the rows."""
MESSAGES = "messages.parquet"
_SEEDS: dict[Split, int] = {"train": 11, "validation": 12}
_PROFILE_DROPOUT = 0.1


@dataclass(frozen=True, slots=True)
class Rows:
    """Is the rows of the benchmark on disk: token files for us, messages for TRL."""

    folder: Path
    encoded: Encoded


def lay_out_rows(
    folder: Path, model: str, config: TrainingConfig, *, train: int, validation: int
) -> Rows:
    """Draw the rows and write ``train.arrow``, ``validation.arrow`` and ``messages.parquet``."""
    rows = {
        split: draw_examples(split, count)
        for split, count in zip(get_args(Split), (train, validation), strict=True)
    }
    encoded = encode_examples(
        [example for examples in rows.values() for example in examples],
        config,
        model=model,
        folder=folder,
    )
    if encoded.rejections:
        raise SystemExit(f"rows that do not fit: {encoded.reasons}; raise max_length")
    write_messages(rows["train"], folder / MESSAGES)
    return Rows(folder, encoded)


def draw_examples(split: Split, count: int) -> list[Example]:
    """Draw dialogues in voice, under the system prompt that curation gives them."""
    school = School(_SEEDS[split])
    builder = ExampleBuilder(
        PromptTemplate.load(require_path("prompts/roleplay.j2", "bench")),
        "bench",
        profile_dropout=_PROFILE_DROPOUT,
        seed=0,
    )
    examples = []
    for number in range(count):
        lesson = school.draw_lesson("generate")
        persona = str(lesson.context["persona"])
        given = [Turn(message.role, message.content) for message in lesson.history]
        asked = (Turn("user", str(lesson.context["query"])), Turn("assistant", lesson.answer))
        example = builder.build(
            dialogue_key=content_key("bench", f"{split} {number}"),
            character_key=content_key("bench", persona),
            persona=persona,
            profile=str(lesson.context["profile"]),
            split=split,
            context_turns=0,
            turns=(*given, *asked),
        )
        examples.append(example)
    return examples


def write_messages(examples: Sequence[Example], path: Path) -> None:
    """Write conversations as TRL takes them: one column of role and content."""
    messages = [
        [{"role": turn.role, "content": turn.content} for turn in example.messages]
        for example in examples
    ]
    pl.DataFrame({"messages": messages}).write_parquet(path)
