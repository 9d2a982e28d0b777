"""Keeps the rows of a row stage append-only, shared by all runs, and says what is to do.

A recipe's folder holds parts of two kinds: chunk parts (``part-c-…``), one a finished chunk, and
compacted parts (``part-…``) that replace many of them. A compacted part records in its Parquet
metadata which chunk parts it replaces, so a crash between writing it and removing those can
neither lose nor double a row. Manifests name compacted parts only, and those are never removed.

A committed row counts as done only if its key *and* its parents' digest match.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import count
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import DamagedFile, Reject, StoreVersionError
from infra.store.fingerprints import hash_parts
from infra.store.key_index import (
    KEY_COLUMNS,
    find_covered,
    find_ripe,
    read_indexes,
    read_keys,
    write_indexes,
)
from infra.store.manifests import (
    Manifest,
    PartRef,
    digest_bytes,
    read_manifest,
    read_tables,
    refer_to_file,
    write_table,
)
from infra.store.parquet_reads import naming_damage, read_metadata
from infra.store.schema import arrow_schema, from_plain, to_table
from infra.store.storage import FileStat, Storage
from infra.store.thought_counts import ThoughtCount, read_count

R = TypeVar("R")

_REPLACES = b"opencharacter.replaces"
_DETAIL_CHARS = 4000

MERGE_CHUNKS = 64
MERGE_ROWS = 16_384
"""Chunk parts are merged when so many of them or of their rows have gathered, so that listings stay
short and a merge takes little memory."""

_LISTED_S = 20.0
_FILES_AT_ONCE = 8
"""On S3 a request is mostly waiting."""

IDENTITY_COLUMNS = ("key", "parents_digest")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every row of a row stage carries beside its record.

    Attributes:
        parents: Keys of the rows that it was made from, the nearest only.
        status: ``accepted`` or ``rejected``; both are final.
        reason: Why it was rejected; empty when accepted.
        detail: The raw output and what was wrong with it; empty when accepted.
        attempts: The largest number of attempts one of its calls took.
        requests: How many requests were sent for it in all.
    """

    key: str
    parents_digest: str
    status: str
    reason: str
    detail: str
    attempts: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeRow:
    """Finished row on its way to disk: an envelope, and the record if it was accepted.

    ``thoughts`` counts what the model thought over it; only sums of that are kept.
    """

    envelope: Envelope
    record: object | None
    thoughts: ThoughtCount = field(default_factory=ThoughtCount)


def parents_digest(*fields: str) -> str:
    """Hash the parent fields that a row's prompt is rendered from."""
    return hash_parts(*fields)


def reject_detail(reject: Reject, raw: str) -> str:
    """Describe a rejected output for people: what was wrong, then the raw text, both bounded."""
    return f"{reject.detail}\n---\n{raw}"[:_DETAIL_CHARS] if raw else reject.detail


def row_schema(record: type[Any]) -> pa.Schema:
    """Return the columns of a row stage's parts: the envelope, then the record without key."""
    # What was written before there were parents has none, and is merged with what has.
    fields = [
        field.with_nullable(True) if field.name == "parents" else field
        for field in arrow_schema(Envelope)
    ]
    own = [field for field in arrow_schema(record, nullable=True) if field.name != "key"]
    if taken := {field.name for field in fields} & {field.name for field in own}:
        raise TypeError(f"{record.__name__} has fields that every row has: {sorted(taken)}")
    return pa.schema([*fields, *own])


def encode_rows(record: type[Any], rows: Sequence[MadeRow]) -> pa.Table:
    """Encode finished rows, sorted by key; the columns of a rejected row's record are null."""
    ordered = sorted(rows, key=lambda row: row.envelope.key)
    envelopes = to_table(Envelope, [row.envelope for row in ordered])
    records = [row.record for row in ordered if row.record is not None]
    own = to_table(record, records)
    if len(records) < len(ordered):
        counter = count()
        places = [None if row.record is None else next(counter) for row in ordered]
        own = own.take(pa.array(places, pa.int64()))
    held = {**_list_columns(own), **_list_columns(envelopes)}
    thoughts = sum((row.thoughts for row in rows), ThoughtCount()).write()
    schema = row_schema(record)
    return pa.Table.from_arrays(
        [held[name] for name in schema.names],
        schema=schema.with_metadata(thoughts) if thoughts else schema,
    )


def _list_columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def commit_chunk(storage: Storage, folder: str, table: pa.Table) -> PartRef:
    """Commit finished rows as a part of their own; the name follows from the keys."""
    name = hash_parts(*table.column("key").to_pylist(), *table.column("parents_digest").to_pylist())
    return write_table(storage, f"{folder}/part-c-{name}.parquet", table)


def list_parts(storage: Storage, folder: str) -> tuple[list[FileStat], list[FileStat]]:
    """Return (compacted, chunk) parts that hold live rows; replaced chunks are left out."""
    listed = storage.list(folder, ".parquet")
    compacted, chunks = _sort_parts(listed)
    if chunks and compacted:
        covered = find_covered(storage, listed)
        unindexed = [stat for stat in compacted if stat.path not in covered]
        footers = [read_metadata(storage, stat) for stat in unindexed]
        chunks = _clear_replaced(storage, chunks, footers)
    return compacted, chunks


def find_replaced(storage: Storage, compacted: Iterable[str]) -> set[str]:
    """Return the paths of the chunk parts that compacted parts stand for."""
    replaced: set[str] = set()
    for path in compacted:
        with naming_damage(storage, path):
            metadata = pq.read_schema(BytesIO(storage.read_bytes(path))).metadata or {}
        replaced.update(_list_replaced(metadata))
    return replaced


def read_committed(
    storage: Storage,
    folder: str,
    damaged: list[DamagedFile] | None = None,
    leave_out: Collection[str] = (),
) -> pl.DataFrame:
    """Read key, digest, status and reason of every committed row, each once.

    Files that are not whole are left out and added to ``damaged``; without it the first is raised.
    So are those to ``leave_out``.
    On S3 a million rows in chunks of 64 take at most 200 requests (tests/e2e/test_s3_faults.py).
    """
    listed = [stat for stat in storage.list(folder, ".parquet") if stat.path not in leave_out]
    compacted, chunks = _sort_parts(listed)
    indexed = read_indexes(storage, listed, damaged)
    waiting = [stat for stat in compacted if stat.path not in indexed.covered]
    parts = read_keys(storage, waiting, damaged)
    chunks = _clear_replaced(storage, chunks, [part.metadata for part in parts])
    loose = read_keys(storage, chunks, damaged)
    frames = [*indexed.frames, *(read.frame for read in (*parts, *loose))]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(KEY_COLUMNS, pl.String))
    return pl.concat(frames).unique(IDENTITY_COLUMNS, keep="first", maintain_order=True)


def _sort_parts(listed: Sequence[FileStat]) -> tuple[list[FileStat], list[FileStat]]:
    parts = [stat for stat in listed if "/part-" in stat.path]
    chunks = [stat for stat in parts if "/part-c-" in stat.path]
    return [stat for stat in parts if "/part-c-" not in stat.path], chunks


def _clear_replaced(
    storage: Storage, chunks: list[FileStat], footers: Iterable[Mapping[bytes, bytes]]
) -> list[FileStat]:
    """Remove the chunks that compacted parts replace and return the others."""
    replaced = {path for metadata in footers for path in _list_replaced(metadata)}
    for stale in [stat for stat in chunks if stat.path in replaced]:
        storage.remove(stale.path)
    return [stat for stat in chunks if stat.path not in replaced]


def _list_replaced(metadata: Mapping[bytes, bytes]) -> list[str]:
    replaced: list[str] = json.loads(metadata.get(_REPLACES, b"[]"))
    return replaced


def read_part_rows(storage: Storage, folder: str, record: type[R]) -> list[R]:
    """Read the accepted rows committed so far, for a look at a stage that is still running."""
    rows: dict[str, R] = {}
    for stats in list_parts(storage, folder):
        for stat in stats:
            frame = _read_whole(storage, stat.path)
            for row in frame.filter(pl.col("status") == "accepted").iter_rows(named=True):
                rows.setdefault(row["key"], from_plain(record, row))
    return [rows[key] for key in sorted(rows)]


def read_part_rejects(storage: Storage, folder: str) -> pl.DataFrame:
    """Read key, reason and detail of the rows rejected so far, sorted by key, each once."""
    columns = ["key", "reason", "detail"]
    frames = [
        _read_whole(storage, stat.path, [*columns, "status"])
        for stats in list_parts(storage, folder)
        for stat in stats
    ]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    rejected = pl.concat(frames).filter(pl.col("status") == "rejected").select(columns)
    return rejected.unique("key", keep="first", maintain_order=True).sort("key")


def _read_whole(storage: Storage, path: str, columns: list[str] | None = None) -> pl.DataFrame:
    with naming_damage(storage, path):
        return pl.read_parquet(BytesIO(storage.read_bytes(path)), columns=columns)


def find_pending(planned: pl.DataFrame, committed: pl.DataFrame) -> pl.DataFrame:
    """Return the planned rows that no committed row answers by key and digest."""
    return planned.join(committed, on=IDENTITY_COLUMNS, how="anti", maintain_order="left")


def compact_chunks(storage: Storage, folder: str) -> list[PartRef]:
    """Merge all chunk parts into one compacted part and return every live compacted part."""
    compacted, chunks = list_parts(storage, folder)
    if chunks:
        merged = merge_chunks(storage, folder, [stat.path for stat in chunks])
        await_listed(storage, folder, [merged])
        compacted, _ = list_parts(storage, folder)
    else:
        index_parts(storage, folder)
    recorded = _list_recorded(storage, folder)
    return [
        _describe_part(storage, stat, recorded.get((stat.path, stat.token))) for stat in compacted
    ]


def await_listed(
    storage: Storage, folder: str, paths: Collection[str], timeout_s: float = _LISTED_S
) -> None:
    """Wait until a listing shows parts that were written, so long at most: some stores list late.

    Rows of a part that is not listed would be asked for again.
    """
    deadline, pause_s = time.monotonic() + timeout_s, _LISTED_S / 100
    while not {stat.path for stat in storage.list(folder, ".parquet")}.issuperset(paths):
        if time.monotonic() >= deadline:
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LISTED_S / 10)


def merge_chunks(storage: Storage, folder: str, paths: Sequence[str]) -> str:
    """Replace chunk parts by one compacted part and return its path.

    Safe to interrupt at any point.
    """
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        tables = list(pool.map(partial(_read_table, storage), sorted(paths)))
    # Parts of before parents were kept lack a column.
    joined = pa.concat_tables(tables, promote_options="default")
    whole = pl.from_arrow(joined)
    assert isinstance(whole, pl.DataFrame)
    # Two runs at work on one recipe may both have made a row; the first is kept.
    once = whole.unique(IDENTITY_COLUMNS, keep="first", maintain_order=True).sort("key")
    merged = once.to_arrow().cast(joined.schema)
    thoughts = sum((read_count(table.schema.metadata) for table in tables), ThoughtCount())
    metadata = {_REPLACES: json.dumps(sorted(paths)).encode(), **thoughts.write()}
    merged = merged.replace_schema_metadata({**(merged.schema.metadata or {}), **metadata})
    path = f"{folder}/part-{hash_parts(*sorted(paths))}.parquet"
    write_table(storage, path, merged)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        list(pool.map(storage.remove, paths))
    index_parts(storage, folder)
    return path


def _read_table(storage: Storage, path: str) -> pa.Table:
    with naming_damage(storage, path):
        data = BytesIO(storage.read_bytes(path))
        return pq.read_table(data, page_checksum_verification=True)


def index_parts(storage: Storage, folder: str) -> None:
    """Index the keys of compacted parts when enough of them have gathered."""
    listed = storage.list(folder, ".parquet")
    ripe = find_ripe(storage, listed, _sort_parts(listed)[0])
    if ripe:
        list_parts(storage, folder)  # what a crash left of their chunks goes first
        write_indexes(storage, folder, ripe)


def _list_recorded(storage: Storage, folder: str) -> dict[tuple[str, str], str]:
    """Return the digests that manifests have recorded of a folder's parts, by path and token.

    A part that has another token by now was made again, of rows that may read otherwise: its name
    follows from their keys. What was damaged with a trace was set aside before.
    """
    recorded: dict[tuple[str, str], str] = {}
    for stat in storage.list(folder, ".json"):
        with suppress(StoreVersionError, FileNotFoundError):
            parts = read_manifest(storage, stat.path).parts
            recorded |= {(part.path, part.token): part.digest for part in parts}
    return recorded


def _describe_part(storage: Storage, stat: FileStat, recorded: str | None) -> PartRef:
    """Describe a part that is on disk; its digest vouches for nothing that was damaged before.

    What a manifest has recorded is compared, of other parts the pages' own checksums.
    """
    data = storage.read_bytes(stat.path)
    digest = digest_bytes(data)
    if recorded is not None and recorded != digest:
        raise DamagedFile(storage.url(stat.path), stat.path, "was changed")
    with naming_damage(storage, stat.path):
        if recorded is None:
            pq.read_table(BytesIO(data), page_checksum_verification=True)
        rows = pq.read_metadata(BytesIO(data)).num_rows
    return refer_to_file(storage, stat.path, digest, rows, "rows")


def write_members(storage: Storage, path: str, planned: pl.DataFrame) -> PartRef:
    """Write which rows belong to a node: their keys and digests, sorted."""
    members = planned.select(IDENTITY_COLUMNS).sort("key")
    return write_table(storage, path, members.to_arrow(), holds="members")


def read_rows(
    storage: Storage, manifest: Manifest, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Read the rows of a row stage's node, sorted by key: all columns, or those named."""
    if manifest.members is None:
        raise ValueError(f"{manifest.path} is not the manifest of a row stage")
    wanted = [*IDENTITY_COLUMNS, *columns] if columns is not None else None
    rows = read_tables(storage, manifest.parts, wanted)
    members = read_tables(storage, [manifest.members])
    if rows.is_empty():
        return rows
    return (
        rows.join(members, on=IDENTITY_COLUMNS, how="semi")
        .unique(IDENTITY_COLUMNS, keep="first", maintain_order=True)
        .sort("key")
    )


def take_planned(
    storage: Storage, parts: Sequence[PartRef], planned: pl.DataFrame, columns: Sequence[str] = ()
) -> tuple[list[PartRef], pl.DataFrame]:
    """Return the parts that hold planned rows, and of these rows, each once, the named columns.

    Every part is read once, and all of them are joined at once: a join for each would go through
    all planned rows every time.
    """
    wanted = list(dict.fromkeys((*IDENTITY_COLUMNS, *columns)))
    frames = [
        _read_whole(storage, part.path, wanted).with_columns(place=pl.lit(place))
        for place, part in enumerate(parts)
    ]
    if not frames:
        return [], pl.DataFrame()
    held = pl.concat(frames, how="vertical_relaxed")
    found = held.join(planned.select(IDENTITY_COLUMNS), on=IDENTITY_COLUMNS, how="semi")
    kept = [parts[place] for place in found["place"].unique().sort()]
    return kept, found.unique(IDENTITY_COLUMNS, keep="first", maintain_order=True).drop("place")
