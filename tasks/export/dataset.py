"""Writes a run's characters, dialogues and examples as a folder that ``load_dataset`` opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from infra.store.manifests import PartRef, write_file
from infra.store.set_store import revive
from infra.store.storage import Storage
from infra.temporary_folders import temporary_folder
from tasks.export.card import CardFacts, Count, Provenance, SourceFacts, TableFacts, render_card
from tasks.export.cards import write_cards
from tasks.export.config import ExportConfig
from tasks.export.files import write_rows
from tasks.export.rows import (
    CharacterRow,
    DialogueRow,
    SftRow,
    list_cast,
    make_character_rows,
    make_dialogue_rows,
    make_sft_rows,
)

CHARACTERS_FILE = "synthetic_character"
DIALOGUES_FILE = "synthetic_dialogue"
CARD_FILE = "README.md"
_BLOCK_ROWS = 4_000
DIALOGUE_COLUMNS = (
    "key", "character_key", "corpus", "question_id", "context_turns", "strategy", "turns",
    "teacher",
)  # fmt: skip
"""Of dialogues, all that the data set and its card tell."""

_SUFFIXES = ("parquet", "jsonl")
"""``load_dataset`` opens the first that is there: Parquet holds the types. It reads a folder by
one builder only, so the SFT rows come in that format too."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, the card last, and how many rows each configuration holds."""

    files: tuple[PartRef, ...]
    characters: int
    dialogues: int
    dialogue_rows: int
    sft_rows: int


def export_dataset(
    storage: Storage,
    folder: str,
    *,
    characters: pl.DataFrame,
    dialogues: pl.DataFrame,
    examples: pl.DataFrame,
    config: ExportConfig,
    card_template: str,
    provenance: Provenance,
) -> Export:
    """Write the files into a folder of the store.

    The frames hold the columns of :class:`Character`, :class:`Dialogue` and :class:`Example`.
    The rows depend on no order of theirs; memory is bounded by the frames, not by the files.
    """
    chosen = choose_dialogues(dialogues, examples, config)
    cast = make_character_rows(characters)
    tally = _Tally(config.card_examples)
    suffixes = [suffix for suffix in _SUFFIXES if suffix in config.formats]
    files: list[PartRef] = []
    tables: list[TableFacts] = []

    with temporary_folder("export") as scratch:

        def write(
            table: str,
            split: str,
            stem: str,
            wanted: Sequence[str],
            record: type[Any],
            frames: Iterable[pl.DataFrame],
        ) -> None:
            names = [f"{stem}.{suffix}" for suffix in wanted]
            parts = write_rows(storage, folder, names, record, frames, scratch)
            files.extend(parts)
            tables.append(TableFacts(table, split, parts[0].rows, tuple(names)))

        known = list_cast(cast)
        shown = known.drop("character_key")
        write("characters", "train", CHARACTERS_FILE, suffixes, CharacterRow, [shown])
        played = tally.watch(make_dialogue_rows(block, known) for block in _list_blocks(chosen))
        write("dialogues", "train", DIALOGUES_FILE, suffixes, DialogueRow, played)
        for split in _list_splits(examples):
            blocks = _list_blocks(examples.filter(split=split))
            sft = (make_sft_rows(block, known) for block in blocks)
            write("sft", split, f"sft_{split}", suffixes[:1], SftRow, sft)

    if config.cards:
        files.extend(write_cards(storage, folder, characters, cast))
    facts = CardFacts(
        name=config.name,
        provenance=_fill_licences(provenance, config),
        scope=config.dialogues,
        tables=tuple(tables),
        characters=len(cast),
        dialogues=tally.dialogues,
        strategies=tuple(Count(name, rows) for name, rows in sorted(tally.strategies.items())),
        characters_trained=_count_characters(examples, "train"),
        characters_held_out=_count_characters(examples, "validation"),
        examples=tuple(_shorten_example(row, config.card_example_chars) for row in tally.first),
    )
    card = render_card(facts, card_template).encode()
    files.append(write_file(storage, f"{folder}/{CARD_FILE}", card))
    return Export(
        files=tuple(files),
        characters=len(cast),
        dialogues=tally.dialogues,
        dialogue_rows=facts.dialogue_rows,
        sft_rows=sum(table.rows for table in tables if table.config == "sft"),
    )


def choose_dialogues(
    dialogues: pl.DataFrame, examples: pl.DataFrame, config: ExportConfig
) -> pl.DataFrame:
    """Return the dialogues to export: those that became examples, or all."""
    if config.dialogues == "all" or dialogues.is_empty():
        return dialogues
    if examples.is_empty():
        return dialogues.clear()
    return dialogues.join(examples, left_on="key", right_on="dialogue_key", how="semi")


@dataclass(slots=True)
class _Tally:
    """Count of the rows that pass, and the first answers of a few dialogues for the card."""

    wanted: int
    dialogues: int = 0
    strategies: Counter[str] = field(default_factory=Counter)
    first: list[DialogueRow] = field(default_factory=list)

    def watch(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for frame in frames:
            begun = frame.filter(turn=0)
            self.dialogues += begun.height
            self.first += revive(DialogueRow, begun.head(self.wanted - len(self.first)))
            self.strategies.update(dict(frame["strategy"].value_counts().iter_rows()))
            yield frame


def _list_blocks(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows by key, as many at a time as may be spread out.

    Each block is picked out of all rows: a slice of them would bring the turns of all to Arrow.
    """
    if rows.height:
        order = rows["key"].arg_sort()
        yield from (rows[order.slice(at, _BLOCK_ROWS)] for at in range(0, rows.height, _BLOCK_ROWS))


def _list_splits(examples: pl.DataFrame) -> list[str]:
    if examples.is_empty():
        return []
    found = set(examples["split"].unique().to_list())
    return [split for split in ("train", "validation") if split in found]


def _count_characters(examples: pl.DataFrame, split: str) -> int:
    if examples.is_empty():
        return 0
    return examples.filter(pl.col("split") == split)["character_key"].n_unique()


def _fill_licences(provenance: Provenance, config: ExportConfig) -> Provenance:
    sources: tuple[SourceFacts, ...] = tuple(
        replace(source, licence=config.licences.get(source.name, source.licence))
        for source in provenance.sources
    )
    return replace(provenance, sources=sources)


def _shorten_example(row: DialogueRow, limit: int) -> DialogueRow:
    shown = {
        name: text if len(text) <= limit else text[: limit - 1] + "…"
        for name in ("persona", "character", "question", "character_answer")
        if (text := getattr(row, name)) is not None
    }
    return replace(row, **shown)
