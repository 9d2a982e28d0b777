"""Proves that an index of keys says what the parts say, and is believed only as long as it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.store import key_index
from infra.store.row_store import (
    commit_chunk,
    compact_chunks,
    encode_rows,
    list_parts,
    merge_chunks,
    read_committed,
)
from infra.store.storage import Storage
from tests.unit.infra.nodes import NODE, Note, make_row, reject_row

FOLDER = NODE.folder


@pytest.fixture(autouse=True)
def fan_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three parts be enough for an index."""
    monkeypatch.setattr(key_index, "FAN_IN", 3)


def merge(storage: Storage, *keys: str) -> None:
    rows = [reject_row(key) if key.endswith("x") else make_row(key) for key in keys]
    merge_chunks(storage, FOLDER, [commit_chunk(storage, FOLDER, encode_rows(Note, rows)).path])


def list_indexes(storage: Storage) -> list[Path]:
    return sorted(Path(storage.url(FOLDER)).glob("keys-*.parquet"))


def count_reads(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many files reading the keys takes."""
    paths: list[str] = []
    real = Storage.read_bytes

    def read(self: Storage, path: str) -> bytes:
        paths.append(path)
        return real(self, path)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "read_bytes", read)
        read_committed(storage, FOLDER)
    return len(paths)


def read_all(storage: Storage) -> list[tuple[str, ...]]:
    return sorted(read_committed(storage, FOLDER).rows())


def test_every_few_parts_are_read_as_one(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a", "bx", "c", "d", "e", "f", "g"):
        merge(storage, key)
    assert len(list_indexes(storage)) == 2
    assert count_reads(storage, monkeypatch) == 3
    indexed = read_all(storage)
    for path in list_indexes(storage):
        path.unlink()
    assert count_reads(storage, monkeypatch) == 7
    assert read_all(storage) == indexed
    assert [row[0] for row in indexed] == ["a", "bx", "c", "d", "e", "f", "g"]
    assert indexed[1][2:] == ("rejected", "empty")


def test_an_index_is_no_part(storage: Storage) -> None:
    for key in "abc":
        merge(storage, key)
    compacted, chunks = list_parts(storage, FOLDER)
    assert (len(compacted), chunks) == (3, [])
    assert sum(part.rows for part in compact_chunks(storage, FOLDER)) == 3


def test_an_index_of_parts_that_are_gone_is_not_believed(storage: Storage) -> None:
    for key in "abcd":
        merge(storage, key)
    (index,) = list_indexes(storage)
    covered = key_index.find_covered(storage, storage.list(FOLDER, ".parquet"))
    gone = sorted(covered)[0]
    storage.remove(gone)
    left = [row[0] for row in read_all(storage)]
    assert len(left) == 3
    assert index.exists()
    assert key_index.find_covered(storage, storage.list(FOLDER, ".parquet")) == frozenset()


def test_a_chunk_left_by_a_crash_goes_before_its_part_is_indexed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(storage, "a")
    chunk = commit_chunk(storage, FOLDER, encode_rows(Note, [make_row("b")]))
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "remove", lambda self, path: None)
        merge_chunks(storage, FOLDER, [chunk.path])
    assert storage.stat(chunk.path) is not None
    merge(storage, "c")
    assert len(list_indexes(storage)) == 1
    assert storage.stat(chunk.path) is None
    assert [row[0] for row in read_all(storage)] == ["a", "b", "c"]


def test_parts_made_before_there_were_indexes_are_indexed_by_the_next_run(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "FAN_IN", 99)
    for key in "abcdefgh":
        merge(storage, key)
    assert list_indexes(storage) == []
    monkeypatch.setattr(key_index, "FAN_IN", 3)
    compact_chunks(storage, FOLDER)
    assert len(list_indexes(storage)) == 2, "the last two wait for a third"
    assert count_reads(storage, monkeypatch) == 4
