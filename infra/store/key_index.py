"""Keeps the keys of a row stage's compacted parts together, so that planning takes few requests.

Planning asks which keys are committed. A stage of a million rows has some 250 compacted parts; on
S3 that many reads take longer than the plan. So each time :data:`FAN_IN` parts are in no index
yet, their keys are written once more into one file, ``keys-<hash>.parquet``, which names the
parts it stands for. An index is a copy and nothing else: without it the parts are read, and one
that names a part which is not there as it was is not believed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from infra.errors import DamagedFile
from infra.store.fingerprints import hash_parts
from infra.store.manifests import write_table
from infra.store.parquet_reads import Columns, read_columns, read_metadata
from infra.store.storage import FileStat, Storage

FAN_IN = 64
"""How many compacted parts an index stands for."""

KEY_COLUMNS = ("key", "parents_digest", "status", "reason")
_COVERS = b"opencharacter.covers"
_READS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Indexed:
    """What sound indexes say: the keys, and the paths of the parts they stand for."""

    frames: tuple[pl.DataFrame, ...]
    covered: frozenset[str]


def is_index(stat: FileStat) -> bool:
    """Tell an index from the parts of a listing."""
    return stat.path.rsplit("/", 1)[-1].startswith("keys-")


def read_keys(
    storage: Storage,
    stats: Sequence[FileStat],
    damaged: list[DamagedFile] | None = None,
    columns: Sequence[str] = KEY_COLUMNS,
) -> list[Columns]:
    """Read the keys of parts or indexes, several at a time, in the order given.

    Files that are not whole are left out and added to ``damaged``; without it the first is raised.
    """
    if not stats:
        return []

    def read(stat: FileStat) -> Columns | None:
        try:
            return read_columns(storage, stat, columns)
        except DamagedFile as error:
            if damaged is None:
                raise
            damaged.append(error)
            return None

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        return [found for found in pool.map(read, stats) if found is not None]


def read_indexes(
    storage: Storage, listed: Sequence[FileStat], damaged: list[DamagedFile] | None = None
) -> Indexed:
    """Read every sound index of a listing; see :func:`read_keys` for ``damaged``."""
    sizes = {stat.path: stat.size for stat in listed}
    frames: list[pl.DataFrame] = []
    covered: set[str] = set()
    for read in read_keys(storage, [stat for stat in listed if is_index(stat)], damaged):
        parts = _find_covered(read.metadata, sizes)
        if parts:
            frames.append(read.frame)
            covered.update(parts)
    return Indexed(tuple(frames), frozenset(covered))


def find_covered(storage: Storage, listed: Sequence[FileStat]) -> frozenset[str]:
    """Return the paths of the parts that sound indexes stand for, without reading any key."""
    sizes = {stat.path: stat.size for stat in listed}
    covered: set[str] = set()
    for stat in listed:
        if is_index(stat):
            covered.update(_find_covered(read_metadata(storage, stat), sizes))
    return frozenset(covered)


def find_ripe(
    storage: Storage, listed: Sequence[FileStat], parts: Sequence[FileStat]
) -> list[FileStat]:
    """Return the parts that are in no index yet, once they are enough for one."""
    if len(parts) < FAN_IN:
        return []
    covered = find_covered(storage, listed)
    waiting = [stat for stat in parts if stat.path not in covered]
    return waiting if len(waiting) >= FAN_IN else []


def write_indexes(storage: Storage, folder: str, parts: Sequence[FileStat]) -> None:
    """Write an index for every :data:`FAN_IN` parts that are in none; the rest waits.

    The chunks that these parts replaced must be gone: of an indexed part nobody asks any more
    which chunks it stands for.
    """
    for start in range(0, len(parts) - FAN_IN + 1, FAN_IN):
        group = parts[start : start + FAN_IN]
        keys = pl.concat([read.frame for read in read_keys(storage, group)])
        table = keys.sort("key").to_arrow().cast(_schema())
        covers = json.dumps({stat.path: stat.size for stat in group}).encode()
        name = hash_parts(*(stat.path for stat in group))
        path = f"{folder}/keys-{name}.parquet"
        write_table(storage, path, table.replace_schema_metadata({_COVERS: covers}), holds="keys")


def _find_covered(metadata: Mapping[bytes, bytes], sizes: Mapping[str, int]) -> Collection[str]:
    named: dict[str, int] = json.loads(metadata.get(_COVERS, b"{}"))
    sound = all(sizes.get(path) == size for path, size in named.items())
    return set(named) if sound else set()


def _schema() -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in KEY_COLUMNS])
