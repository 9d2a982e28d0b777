"""Names nodes that are made again on purpose, so that old and new rows never mix.

A *refreshed* node has a recipe of its own: its rows get other keys, and with them other seeds,
and all that was made from them follows. A node whose *rejects are retried* keeps its recipe and
its accepted rows; only rejected ones are asked again, with the attempts that come after those
already spent. Both are on record in the node's manifest, and nothing that is committed changes.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from infra.fingerprints import hash_parts
from infra.manifests import NodeSpec
from infra.row_store import IDENTITY_COLUMNS

REFRESH = "refresh"
RETRIES = "retry_rejects"


def refresh_node(node: NodeSpec, salt: int) -> NodeSpec:
    """Return the node under a recipe of its own; 0 is the node itself."""
    if not salt:
        return node
    mark = f"{REFRESH} {salt}"
    return replace(
        node,
        recipe=hash_parts(node.recipe, mark),
        fingerprint=hash_parts(node.fingerprint, mark),
        identity={**node.identity, REFRESH: salt},
    )


def retry_node(node: NodeSpec, rounds: int) -> NodeSpec:
    """Return the node with rejected rows asked again so many times over; 0 is the node itself."""
    if not rounds:
        return node
    return replace(
        node,
        fingerprint=hash_parts(node.fingerprint, f"{RETRIES} {rounds}"),
        selection={**node.selection, RETRIES: rounds},
    )


def count_rounds(node: NodeSpec) -> int:
    """Return how many times over a node's rejected rows are asked again."""
    return int(node.selection.get(RETRIES, 0))


def plan_round(planned: pl.DataFrame, committed: pl.DataFrame, number: int) -> pl.DataFrame:
    """Return the plan of a round: rows that the round before rejected get a digest of their own.

    ``planned`` is the plan of the round before, all of it committed. A retried row so counts as
    another row with the same key: it is committed beside the rejected one, a node's members name
    the one or the other, and a round that was interrupted goes on where it stopped. Its attempts
    are those after ``number`` times the stage's ``max_attempts``.
    """
    rejected = committed.filter(pl.col("status") == "rejected").select(IDENTITY_COLUMNS).unique()
    digests = [hash_parts(old, f"{RETRIES} {number}") for old in rejected["parents_digest"]]
    marked = planned.join(
        rejected.with_columns(pl.Series("_retried", digests, dtype=pl.String)),
        on=list(IDENTITY_COLUMNS),
        how="left",
        maintain_order="left",
    )
    digest = pl.coalesce("_retried", "parents_digest")
    return marked.with_columns(parents_digest=digest).drop("_retried")
