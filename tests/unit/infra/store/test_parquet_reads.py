"""Proves that some columns of a Parquet file cost few bytes and at most two requests."""

from __future__ import annotations

import random

import polars as pl
import pytest

from infra.store import parquet_reads
from infra.store.manifests import write_table
from infra.store.parquet_reads import read_columns, read_metadata
from infra.store.storage import FileStat, Storage

ROWS = 400


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many bytes each read of the storage brings."""
    sizes: list[int] = []
    whole, part = Storage.read_bytes, Storage.read_range

    def read_bytes(self: Storage, path: str) -> bytes:
        sizes.append(len(data := whole(self, path)))
        return data

    def read_range(self: Storage, path: str, start: int, length: int) -> bytes:
        sizes.append(len(data := part(self, path, start, length)))
        return data

    monkeypatch.setattr(Storage, "read_bytes", read_bytes)
    monkeypatch.setattr(Storage, "read_range", read_range)
    return sizes


@pytest.fixture
def stat(storage: Storage) -> FileStat:
    """A file whose text columns are large and whose keys are small."""
    chance = random.Random(1)
    table = pl.DataFrame(
        {
            "key": [f"{number:04}" for number in range(ROWS)],
            "status": ["accepted"] * ROWS,
            "text": [chance.randbytes(500).hex() for _ in range(ROWS)],
            "last": list(range(ROWS)),
        }
    ).to_arrow()
    write_table(storage, "x/file", table.replace_schema_metadata({b"what": b"it is"}))
    found = storage.stat("x/file")
    assert found is not None
    return found


def test_a_small_file_is_read_whole_once(
    storage: Storage, stat: FileStat, reads: list[int]
) -> None:
    read = read_columns(storage, stat, ["status", "key"])
    assert read.frame.columns == ["status", "key"]
    assert read.frame["key"].to_list()[-1] == "0399"
    assert read.metadata[b"what"] == b"it is"
    assert reads == [stat.size]


def test_of_a_large_file_come_the_footer_and_the_stretch(
    storage: Storage, stat: FileStat, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_reads, "WHOLE_BYTES", 0)
    monkeypatch.setattr(parquet_reads, "_TAIL_BYTES", 3_000)
    read = read_columns(storage, stat, ["key", "status"])
    assert read.frame.height == ROWS
    assert read.frame["status"].unique().to_list() == ["accepted"]
    assert len(reads) == 2
    assert sum(reads) < stat.size / 10


def test_columns_far_apart_are_two_stretches(
    storage: Storage, stat: FileStat, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WHOLE_BYTES": 0, "_TAIL_BYTES": 3_000, "_GAP_BYTES": 1_000}.items():
        monkeypatch.setattr(parquet_reads, name, value)
    read = read_columns(storage, stat, ["key", "last"])
    assert read.frame.row(ROWS - 1) == ("0399", ROWS - 1)
    assert sum(reads) < stat.size / 10


def test_a_footer_longer_than_the_guess_is_fetched_whole(
    storage: Storage, stat: FileStat, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_reads, "WHOLE_BYTES", 0)
    monkeypatch.setattr(parquet_reads, "_TAIL_BYTES", 16)
    assert read_metadata(storage, stat)[b"what"] == b"it is"
    assert len(reads) == 2


def test_a_file_of_no_rows_has_columns(storage: Storage) -> None:
    write_table(storage, "x/empty", pl.DataFrame(schema={"key": pl.String}).to_arrow())
    found = storage.stat("x/empty")
    assert found is not None
    assert read_columns(storage, found, ["key"]).frame.schema == {"key": pl.String}
