"""Builds small nodes and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from infra.store.manifests import Counts, Manifest, NodeSpec, PartRef, Usage
from infra.store.row_store import Envelope, MadeRow


@dataclass(frozen=True, slots=True)
class Note:
    """Is the record of a tiny row stage."""

    key: str
    text: str


NODE = NodeSpec.build("notes", 1, identity={"prompt": "p"}, selection={"limit": 3})


def make_row(key: str, digest: str = "d", text: str = "") -> MadeRow:
    envelope = Envelope(key, digest, "accepted", "", "", 1, 1, 10, 2, 5)
    return MadeRow(envelope, Note(key, text or f"text of {key}"))


def reject_row(key: str, digest: str = "d", reason: str = "empty") -> MadeRow:
    return MadeRow(Envelope(key, digest, "rejected", reason, "raw", 3, 3, 30, 0, 9), None)


def make_plan(*keys: str, digest: str = "d") -> pl.DataFrame:
    return pl.DataFrame(
        {"key": list(keys), "parents_digest": [digest] * len(keys)},
        schema={"key": pl.String, "parents_digest": pl.String},
    )


def make_manifest(
    parts: Sequence[PartRef], members: PartRef | None = None, node: NodeSpec = NODE, **more: Any
) -> Manifest:
    return Manifest(
        stage=node.stage,
        recipe=node.recipe,
        fingerprint=node.fingerprint,
        upstream=dict(node.upstream),
        identity=dict(node.identity),
        selection=dict(node.selection),
        parts=tuple(parts),
        members=members,
        counts=Counts(planned=2, accepted=2, rejected=0, made=2, reused=0),
        reasons={},
        usage=Usage(),
        provenance={},
        **more,
    )
