"""Proves that writes are whole or not there, and that hiccups are retried, but not for ever."""

from __future__ import annotations

import errno
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError, DiskFull, StorageError
from infra.store.storage import Storage, digest_input, find_inputs, is_remote, open_input


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record how long the storage would have slept, and do not sleep."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def break_first(monkeypatch: pytest.MonkeyPatch, name: str, times: int, error: OSError) -> None:
    """Let the first calls of a function of ``os`` fail."""
    real: Callable[..., Any] = getattr(os, name)
    left = [times]

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, flaky)


def list_all(root: str) -> list[str]:
    return sorted(path.name for path in Path(root).rglob("*") if path.is_file())


def test_what_was_written_is_read(storage: Storage) -> None:
    storage.write_bytes("a/b/file.bin", b"\x00\xff")
    assert storage.read_bytes("a/b/file.bin") == b"\x00\xff"
    assert Path(storage.url("a/b/file.bin")).is_absolute()


def test_a_failing_write_leaves_nothing_new(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    break_first(monkeypatch, "fsync", 99, OSError(5, "Input/output error"))
    with pytest.raises(StorageError, match=r"failed 5 times.*Input/output error"):
        storage.write_bytes("a/new", b"half")
    assert list_all(storage.root) == []
    assert len(waits) == 4


def test_a_failing_write_leaves_the_old_content(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    storage.write_bytes("a/file", b"old")
    break_first(monkeypatch, "fsync", 99, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull):
        storage.write_bytes("a/file", b"new")
    assert storage.read_bytes("a/file") == b"old"
    assert list_all(storage.root) == ["file"]


def test_an_interrupted_write_leaves_no_temporary_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes("a/file", b"half")
    assert list_all(storage.root) == []


def test_hiccups_are_waited_out_with_growing_bounded_waits(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    break_first(monkeypatch, "fsync", 4, OSError(5, "Input/output error"))
    storage.write_bytes("file", b"whole")
    assert storage.read_bytes("file") == b"whole"
    assert len(waits) == 4
    for attempt, wait_s in enumerate(waits):
        assert 0.1 * 2**attempt <= wait_s <= 0.3 * 2**attempt


def test_what_waiting_cannot_mend_is_not_retried(storage: Storage, waits: list[float]) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("none")
    assert storage.stat("none") is None
    assert waits == []


def test_a_listing_shows_the_files_of_one_folder_sorted(storage: Storage) -> None:
    for name in ("stage/b.parquet", "stage/a.parquet", "stage/m.json", "stage/deep/c.parquet"):
        storage.write_bytes(name, b"12345")
    stats = storage.list("stage", ".parquet")
    assert [(stat.path, stat.size) for stat in stats] == [
        ("stage/a.parquet", 5),
        ("stage/b.parquet", 5),
    ]
    assert storage.list("none") == []


def test_a_walk_goes_down_and_names_files_below_the_root(storage: Storage) -> None:
    for name in ("stage/b.json", "stage/deep/er/c.json", "stage/a.parquet", "other/d.json"):
        storage.write_bytes(name, b"{}")
    assert [*storage.walk("stage", ".json")] == ["stage/b.json", "stage/deep/er/c.json"]
    assert not storage.walk("none")


def test_the_token_moves_when_a_file_is_rewritten(storage: Storage) -> None:
    storage.write_bytes("file", b"one")
    before = storage.stat("file")
    os.utime(storage.url("file"), (1, 1))
    after = storage.stat("file")
    assert before is not None
    assert after is not None
    assert (before.size, before.token != after.token) == (after.size, True)


def test_removing_twice_is_no_error(storage: Storage) -> None:
    storage.write_bytes("file", b"x")
    storage.remove("file")
    storage.remove("file")
    assert storage.list("") == []


def test_an_upload_is_whole_or_not_there(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    local = tmp_path / "local.bin"
    local.write_bytes(b"x" * 3_000_000)
    storage.upload("files/a", local)
    assert storage.read_bytes("files/a") == local.read_bytes()
    break_first(monkeypatch, "fsync", 99, OSError(5, "Input/output error"))
    with pytest.raises(StorageError):
        storage.upload("files/b", local)
    assert list_all(storage.root) == ["a"]


def test_a_download_is_the_file_and_a_missing_one_is_an_error(
    storage: Storage, tmp_path: Path
) -> None:
    storage.write_bytes("files/a", b"x" * 3_000_000)
    storage.download("files/a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x" * 3_000_000
    with pytest.raises(FileNotFoundError):
        storage.download("files/b", tmp_path / "none")


def test_a_writable_root_is_left_as_it_was_found(storage: Storage) -> None:
    storage.check_writable()
    assert list_all(storage.root) == []


def test_a_root_below_a_file_is_a_problem_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        Storage(str(tmp_path / "file" / "store")).check_writable()
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / "file" / "store")
    assert "storage.root" in problem.todo


def test_a_storage_travels_to_workers_and_means_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy: Storage = pickle.loads(pickle.dumps(Storage("data")))
    monkeypatch.chdir("/")
    assert copy.root == str(tmp_path / "data")


@pytest.mark.parametrize("root", ["s3://bucket/prefix", "s3://bucket/prefix/"])
def test_an_s3_root_keeps_its_address(root: str) -> None:
    assert Storage(root).url("a/b") == "s3://bucket/prefix/a/b"
    assert is_remote(root)
    assert not is_remote("/data/s3:/x")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.jsonl", "b.jsonl", "c.csv", "deep/d.JSONL", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("in/b.jsonl", ["b.jsonl"]),
        ("in/notes.txt", ["notes.txt"]),
        ("in/*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("in/[bc].*", ["b.jsonl", "c.csv"]),
        ("in", ["a.jsonl", "b.jsonl", "c.csv", "deep/d.JSONL"]),
    ],
)
def test_inputs_are_a_file_a_glob_or_a_folder(inputs: Path, source: str, found: list[str]) -> None:
    stats = find_inputs(source, (".jsonl", ".csv"))
    assert [stat.path for stat in stats] == [str(inputs / name) for name in found]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(inputs: Path) -> None:
    (inputs / "x[1].jsonl").write_text("bracketed")
    (stat,) = find_inputs("in/x[1].jsonl", (".jsonl",))
    with open_input(stat.path) as file:
        assert file.read() == b"bracketed"


@pytest.mark.parametrize("source", ["in/none.jsonl", "in/*.parquet", "in/deep/empty"])
def test_no_input_is_an_error(inputs: Path, source: str) -> None:
    (inputs / "deep" / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        find_inputs(source, (".jsonl",))


def test_an_input_is_known_by_its_bytes_wherever_it_lies(inputs: Path) -> None:
    (inputs / "copy.jsonl").write_text("a.jsonl")
    original, changed, copy = (
        digest_input(find_inputs(f"in/{name}.jsonl", ())[0]) for name in ("a", "b", "copy")
    )
    assert original == copy
    assert original != changed


def test_a_range_is_what_stands_there_and_ends_with_the_file(storage: Storage) -> None:
    storage.write_bytes("file", b"0123456789")
    assert storage.read_range("file", 3, 4) == b"3456"
    assert storage.read_range("file", 8, 10) == b"89"
    with pytest.raises(FileNotFoundError):
        storage.read_range("none", 0, 1)


def test_a_full_disk_ends_it_at_once_and_names_the_file(
    storage: Storage, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_first(monkeypatch, "fsync", 99, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull, match=r"notes/part\.parquet .*No space left"):
        storage.write_bytes("notes/part.parquet", b"rows")
    with pytest.raises(ConfigError, match="cannot be written: no room left"):
        storage.check_writable()
    assert waits == []
    assert not storage.walk("")


def test_a_file_is_moved_over_what_lies_there(storage: Storage) -> None:
    storage.write_bytes("notes/a", b"one")
    storage.write_bytes("notes/b", b"two")
    storage.move("notes/a", "notes/b")
    assert storage.read_bytes("notes/b") == b"one"
    assert storage.stat("notes/a") is None
