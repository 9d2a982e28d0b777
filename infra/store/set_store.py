"""Writes and reads set stages: nodes that are made whole, independent of the order of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any, TypeVar

import polars as pl

from infra.errors import YieldError
from infra.store.manifests import (
    Counts,
    Manifest,
    NodeRef,
    NodeSpec,
    PartRef,
    Usage,
    read_manifest,
    read_tables,
    write_manifest,
    write_table,
)
from infra.store.schema import from_plain, list_flat_fields, to_table
from infra.store.storage import Storage

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Row that a set stage left out.

    ``detail`` is what people need to see why: its text, the duplicate's key, the matching phrase.
    ``source`` is where the row came from: ``file:line``, or the key of the parent row.
    """

    key: str
    reason: str
    detail: str
    source: str


def write_set(
    storage: Storage,
    node: NodeSpec,
    accepted: Iterable[R],
    rejected: Iterable[Rejection],
    *,
    record: type[R],
    provenance: Mapping[str, str],
    seconds: float,
    files: Iterable[PartRef] = (),
    facts: Mapping[str, Any] | None = None,
    may_be_empty: bool = False,
) -> NodeRef:
    """Write a set node's accepted and rejected rows, then its manifest.

    Raises :class:`YieldError` when nothing was accepted: no later stage could do anything.
    """
    kept = to_table(record, accepted)
    left = to_table(Rejection, rejected)
    reasons = dict(Counter(left.column("reason").to_pylist()).most_common())
    if kept.num_rows == 0 and not may_be_empty:
        raise YieldError(
            f"{node.stage}: none of {left.num_rows} rows accepted; reasons: {reasons}. "
            f"Look at the source and at the {node.stage} knobs."
        )
    base = f"{node.folder}/part-{node.fingerprint}"
    parts = [
        write_table(storage, f"{base}-accepted.parquet", kept, holds="accepted"),
        write_table(storage, f"{base}-rejected.parquet", left, holds="rejected"),
        *files,
    ]
    return write_set_manifest(
        storage,
        node,
        parts,
        accepted=kept.num_rows,
        reasons=reasons,
        provenance=provenance,
        seconds=seconds,
        facts=facts,
    )


def write_set_manifest(
    storage: Storage,
    node: NodeSpec,
    parts: Iterable[PartRef],
    *,
    accepted: int,
    reasons: Mapping[str, int],
    provenance: Mapping[str, str],
    seconds: float,
    facts: Mapping[str, Any] | None = None,
) -> NodeRef:
    """Write the manifest of a set node whose files are all written."""
    rejected = sum(reasons.values())
    manifest = Manifest(
        stage=node.stage,
        recipe=node.recipe,
        fingerprint=node.fingerprint,
        upstream=dict(node.upstream),
        identity=dict(node.identity),
        selection=dict(node.selection),
        parts=tuple(parts),
        members=None,
        counts=Counts(
            planned=accepted + rejected,
            accepted=accepted,
            rejected=rejected,
            made=accepted + rejected,
            reused=0,
        ),
        reasons=dict(reasons),
        usage=Usage(seconds=round(seconds, 3)),
        provenance=dict(provenance),
        facts=dict(facts or {}),
    )
    return write_manifest(storage, manifest)


def read_set(storage: Storage, reference: NodeRef, holds: str) -> pl.DataFrame:
    """Read the ``accepted`` or ``rejected`` rows of a set node."""
    manifest = read_manifest(storage, reference.manifest)
    return read_tables(storage, [part for part in manifest.parts if part.holds == holds])


def revive(record: type[R], frame: pl.DataFrame) -> list[R]:
    """Turn rows back into records."""
    names = list_flat_fields(record)
    if names and all(name in frame for name in names):
        return list(starmap(record, frame.select(names).iter_rows()))
    return [from_plain(record, row) for row in frame.iter_rows(named=True)]
