"""Names nodes that are made again on purpose, so that old and new rows never mix.

A *refreshed* node has a recipe of its own: its rows get other keys, and with them other seeds,
and all that was made from them follows. A node whose *rejects are retried* keeps its recipe and
its accepted rows; only rejected ones are asked again, with the attempts that come after those
already spent. Both are on record in the node's manifest, and nothing that is committed changes.

What was asked for is kept in the store, so that every later run of the recipe goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from infra.errors import StoreVersionError
from infra.store.fingerprints import hash_parts
from infra.store.manifests import NodeSpec, find_sound_manifest
from infra.store.row_store import IDENTITY_COLUMNS
from infra.store.storage import Storage

REFRESH = "refresh"
RETRIES = "retry_rejects"
_REQUESTS = "wishes"
_PATH = "remakes.json"


@dataclass(frozen=True)
class Reruns:
    """What of a store is made again: how often, by ``refresh`` or ``retry_rejects``.

    Nodes are named by stage and the recipe they have without it. ``requests`` are those that no
    run has carried out to its end yet.
    """

    refreshed: Mapping[str, int] = field(default_factory=dict)
    retried: Mapping[str, int] = field(default_factory=dict)
    requests: frozenset[str] = frozenset()

    def apply(self, node: NodeSpec) -> NodeSpec:
        """Return the node as it is to be made now."""
        name = _name(node)
        renewed = refresh_node(node, self.refreshed.get(name, 0))
        return retry_node(renewed, self.retried.get(name, 0))

    def refresh(self, node: NodeSpec) -> Reruns:
        """Return the reruns with a node, as described without them, refreshed once more."""
        return replace(self, refreshed=_count_up(self.refreshed, _name(node)))

    def retry(self, node: NodeSpec) -> Reruns:
        """Return the reruns with a node's rejects, as described without them, retried again."""
        return replace(self, retried=_count_up(self.retried, _name(node)))

    def open(self, request: str, node: NodeSpec) -> Reruns:
        """Return the reruns with a request for a node on record."""
        return replace(self, requests=self.requests | {f"{request} {_name(node)}"})

    def is_open(self, request: str, node: NodeSpec) -> bool:
        """Tell whether a request for a node is on record."""
        return f"{request} {_name(node)}" in self.requests

    def close(self, nodes: Iterable[NodeSpec]) -> Reruns:
        """Return the reruns without the requests for some nodes."""
        names = {_name(node) for node in nodes}
        left = {request for request in self.requests if request.rpartition(" ")[2] not in names}
        return replace(self, requests=frozenset(left))


def read_reruns(storage: Storage) -> Reruns:
    """Read what of a store is made again; nothing, at first.

    Raises :class:`StoreVersionError` where that cannot be known: nodes would be made as they were.
    """
    if storage.stat(_PATH) is None:
        return Reruns()
    try:
        data = json.loads(storage.read_bytes(_PATH))
        return Reruns(dict(data[REFRESH]), dict(data[RETRIES]), frozenset(data[_REQUESTS]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreVersionError(
            f"{storage.url(_PATH)} cannot be read ({type(error).__name__}: {error}). It says what "
            "was refreshed, and how often; move it away to go on with what was made first."
        ) from error


def write_reruns(storage: Storage, reruns: Reruns) -> None:
    """Keep what of a store is made again."""
    data = {
        REFRESH: dict(reruns.refreshed),
        RETRIES: dict(reruns.retried),
        _REQUESTS: sorted(reruns.requests),
    }
    storage.write_bytes(_PATH, json.dumps(data, indent=1, sort_keys=True).encode())


def has_rejects(storage: Storage, node: NodeSpec) -> bool:
    """Tell whether a node is done, asks a model row by row, and rejected some."""
    manifest = find_sound_manifest(storage, node.manifest_path)
    return manifest is not None and manifest.members is not None and manifest.counts.rejected > 0


def _name(node: NodeSpec) -> str:
    return f"{node.stage}/{node.recipe}"


def _count_up(counts: Mapping[str, int], name: str) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + 1}


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
