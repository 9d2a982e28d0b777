"""Declares the knobs of the export."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from infra.knobs import Knobs, identity, selection

Format = Literal["jsonl", "parquet"]


class ExportConfig(Knobs):
    """Knobs of export: which rows leave, in which files, and what the card says of them."""

    name: str = identity(
        "OpenCharacter dialogues", min_length=1, description="Title of the data set."
    )
    card: str = identity(
        "templates/dataset_card.md.j2", min_length=1, description="Template of the data set card."
    )
    licences: dict[str, str] = identity(
        dict,
        description="Licence of each source by its name (a corpus, or `personas`), as a Hugging "
        "Face licence id; what is missing is called unknown.",
    )
    formats: tuple[Format, ...] = selection(
        ("jsonl", "parquet"),
        description="Files of characters and dialogues; SFT rows come in one, Parquet if there.",
    )
    dialogues: Literal["curated", "all"] = selection(
        "curated", description="Dialogues that survived curation, or all that were played."
    )
    cards: bool = identity(
        False,
        later=True,
        description="Write a character card (version 3, JSON) per character below `cards/`, as "
        "chat programs import them; one that came as a card leaves as it came.",
    )
    card_examples: int = selection(3, ge=0, le=50, description="Dialogues shown in the card.")
    card_example_chars: int = selection(
        1200, ge=20, description="Longest text shown of each field of an example."
    )

    @model_validator(mode="after")
    def _check_formats(self) -> ExportConfig:
        if not self.formats or len(set(self.formats)) != len(self.formats):
            raise ValueError("formats names each of jsonl and parquet at most once, one at least")
        return self
