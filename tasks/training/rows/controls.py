"""Spoils training data on purpose, so that a control shows what the spoiled part was worth."""

from __future__ import annotations

import polars as pl

from infra.store.fingerprints import hash_parts


def shuffle_profiles(examples: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Give every training character the system prompt of another one; validation stays true.

    What a model learns from such rows is everything but who speaks: the difference to a model
    trained on the true rows is the profile's share. The characters, ordered by a seeded hash,
    each take the next one's prompts, so none keeps its own as long as there are two.
    """
    train = examples.filter(pl.col("split") == "train")
    systems: dict[str, list[str]] = {}
    for key, messages in train.select("character_key", "messages").iter_rows():
        systems.setdefault(key, []).append(messages[0]["content"])
    ring = sorted(systems, key=lambda key: (hash_parts("control", str(seed), key), key))
    following = dict(zip(ring, [*ring[1:], *ring[:1]], strict=True))

    def swap(row: dict[str, object]) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = row["messages"]  # type: ignore[assignment]
        if row["split"] != "train":
            return messages
        others = systems[following[str(row["character_key"])]]
        number = int(str(row["key"])[:8], 16) % len(others)
        return [{**messages[0], "content": others[number]}, *messages[1:]]

    swapped = [swap(row) for row in examples.iter_rows(named=True)]
    kind = examples.schema["messages"]
    return examples.with_columns(pl.Series("messages", swapped, dtype=kind))
