"""Plans the rows of stages that make one row a persona."""

from __future__ import annotations

import polars as pl

from infra.fingerprints import row_key
from infra.row_store import parents_digest


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
