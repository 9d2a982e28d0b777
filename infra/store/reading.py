"""Reads finished nodes as records, through their manifests, whatever kind of stage made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import polars as pl

from infra.store.key_index import read_keys
from infra.store.manifests import Manifest, NodeRef, read_manifest, read_tables
from infra.store.row_store import IDENTITY_COLUMNS, read_rows
from infra.store.set_store import revive
from infra.store.storage import FileStat, Storage

R = TypeVar("R")


def read_accepted(storage: Storage, reference: NodeRef, record: type[R]) -> list[R]:
    """Return the accepted rows of a node as records, sorted by key."""
    return revive(record, read_accepted_frame(storage, reference))


def read_first(storage: Storage, reference: NodeRef, record: type[R], count: int) -> list[R]:
    """Return the accepted rows with the smallest keys; of all others only the keys are read."""
    manifest = read_manifest(storage, reference.manifest)
    members = manifest.members
    columns = ("key",) if members is None else (*IDENTITY_COLUMNS, "status")
    parts = [part for part in manifest.parts if part.holds in ("accepted", "rows")]
    stats = [FileStat(part.path, part.size, part.token) for part in parts]
    held = [
        keys.frame.with_columns(place=pl.lit(place))
        for place, keys in enumerate(read_keys(storage, stats, columns=columns))
    ]
    if not held:
        return []
    rows = pl.concat(held)
    if members is not None:
        known = read_tables(storage, [members])
        rows = rows.join(known, on=IDENTITY_COLUMNS, how="semi").filter(status="accepted")
    first = rows.sort("key", "place").unique("key", keep="first", maintain_order=True).head(count)
    chosen = [parts[place] for place in first["place"].unique().sort()]
    found = _read_accepted(storage, manifest.model_copy(update={"parts": tuple(chosen)}), None)
    return revive(record, found.filter(pl.col("key").is_in(first["key"].to_list())))


def read_accepted_frame(
    storage: Storage, reference: NodeRef, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the accepted rows of a node, sorted by key; of columns all, or key and those named."""
    return _read_accepted(storage, read_manifest(storage, reference.manifest), columns)


def _read_accepted(
    storage: Storage, manifest: Manifest, columns: Sequence[str] | None
) -> pl.DataFrame:
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
    frames = [read_accepted_frame(storage, reference, columns or None) for reference in references]
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
