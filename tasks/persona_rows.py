"""Knows how a persona reads, and plans the rows of stages that make one row a persona."""

from __future__ import annotations

import polars as pl

from infra.store.fingerprints import row_key
from infra.store.row_store import parents_digest
from infra.text.text_cleaning import clean_text, strip_quotes


def normalise_persona(text: str) -> str:
    """Return a persona on one line, clean, without quotes around it."""
    return strip_quotes(" ".join(clean_text(text).split()))


def plan_persona_rows(recipe: str, personas: pl.DataFrame) -> pl.DataFrame:
    """Return the planned rows, keyed by lineage; ``personas`` has the columns of Persona."""
    keys, texts = personas["key"].to_list(), personas["persona"].to_list()
    return pl.DataFrame(
        {
            "key": [row_key(recipe, [key]) for key in keys],
            "parents_digest": [parents_digest(text) for text in texts],
            "group": keys,
            "persona_key": keys,
            "persona": texts,
        },
        schema=dict.fromkeys(
            ("key", "parents_digest", "group", "persona_key", "persona"), pl.String
        ),
    )
