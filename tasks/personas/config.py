"""Declares the knobs of persona selection."""

from __future__ import annotations

from infra.input.row_input import Source
from infra.knobs import Knobs, execution, selection


class PersonaConfig(Knobs):
    """Knobs of personas: where they come from, which of them are used, and how many.

    The files enter the node fingerprint by content
    (:func:`tasks.personas.sources.digest_persona_sources`), so the path, split and subset are
    execution knobs: a data set that moved makes nothing anew. A persona's text depends on no knob.
    """

    source: str = execution(
        min_length=1,
        description="JSONL, JSON, CSV, Parquet or Arrow, packed or not: a file, a glob, or a "
        "folder such as a Hugging Face dataset; local or s3://.",
    )
    split: str | None = execution(
        None,
        min_length=1,
        description="Split to read of a folder that has several; null: train; all: every one.",
    )
    subset: str | None = execution(
        None,
        min_length=1,
        description="Configuration to read of a folder that has several; null: its default.",
    )
    persona_column: str = selection(
        "persona", min_length=1, description="Column that holds the persona's text."
    )
    language: str | None = selection(
        "en",
        pattern="^[a-z]{2}$",
        description="Reject personas confidently in another language (ISO 639-1); null: off.",
    )
    min_chars: int = selection(
        10,
        ge=1,
        description="Least characters; Chinese, Japanese and Korean letters count as three.",
    )
    max_chars: int = selection(2000, ge=1, description="Most characters of a persona.")
    near_duplicate_similarity: float | None = selection(
        0.85,
        gt=0,
        lt=1,
        description="Reject personas this similar to a kept one (Jaccard of 5-character "
        "shingles); null: off. Exact duplicates always go.",
    )
    sample: int | None = selection(
        None, ge=1, description="Use this many (the paper's M is 20,000); null: all."
    )
    seed: int = selection(0, description="Seed of the sample.")

    @property
    def rows(self) -> Source:
        """Return what is to be read."""
        return Source(
            self.source, self.split, self.subset, likely=("characters", "persona"), cards=True
        )
