"""Reads finished nodes as records, through their manifests, whatever kind of stage made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import polars as pl

from infra.store.manifests import NodeRef, read_manifest, read_tables
from infra.store.row_store import IDENTITY_COLUMNS, read_rows
from infra.store.schema import from_plain
from infra.store.storage import Storage

R = TypeVar("R")


def read_accepted(storage: Storage, reference: NodeRef, record: type[R]) -> list[R]:
    """Return the accepted rows of a node as records, sorted by key."""
    return list(iterate_accepted(storage, reference, record))


def iterate_accepted(storage: Storage, reference: NodeRef, record: type[R]) -> Iterator[R]:
    """Yield the accepted rows of a node as records, sorted by key, for who may not want all."""
    frame = read_accepted_frame(storage, reference)
    for row in frame.iter_rows(named=True):
        yield from_plain(record, row)


def read_accepted_frame(
    storage: Storage, reference: NodeRef, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the accepted rows of a node, sorted by key; of columns all, or key and those named."""
    manifest = read_manifest(storage, reference.manifest)
    named = None if columns is None else list(dict.fromkeys(("key", *columns)))
    if manifest.members is not None:
        held = None if named is None else [*{"status", *named}.difference(IDENTITY_COLUMNS)]
        rows = read_rows(storage, manifest, held)
        rows = rows.filter(pl.col("status") == "accepted") if rows.height else rows
    else:
        parts = [part for part in manifest.parts if part.holds == "accepted"]
        rows = read_tables(storage, parts, named)
        rows = rows.sort("key") if parts else rows
    return rows.select(named) if named is not None and rows.width else rows


def read_frames(
    storage: Storage, references: Sequence[NodeRef], columns: Sequence[str] = ()
) -> pl.DataFrame:
    """Return the accepted rows of several nodes of one record: their common columns.

    Of no node it is a frame without columns.
    """
    frames = [read_accepted_frame(storage, reference) for reference in references]
    filled = [frame for frame in frames if frame.height]
    if not filled:
        return frames[0] if frames else pl.DataFrame()
    common = [name for name in filled[0].columns if all(name in frame for frame in filled)]
    wanted = list(columns) or common
    return pl.concat([frame.select(wanted) for frame in filled], how="vertical_relaxed")


def read_rejected_frame(storage: Storage, reference: NodeRef) -> pl.DataFrame:
    """Return the rejected rows of a node: key, reason and detail, sorted by key."""
    manifest = read_manifest(storage, reference.manifest)
    if manifest.members is not None:
        rows = read_rows(storage, manifest)
        if not rows.height:
            return _no_rejects()
        rows = rows.filter(pl.col("status") == "rejected")
    else:
        parts = [part for part in manifest.parts if part.holds == "rejected"]
        if not parts:  # a node that rejects nothing, such as the export, keeps no table of it
            return _no_rejects()
        rows = read_tables(storage, parts).sort("key")
    return rows.select("key", "reason", "detail")


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, "reason": pl.String, "detail": pl.String})
