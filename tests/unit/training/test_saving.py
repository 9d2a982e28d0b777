"""Tests when checkpoints are due, and that one uploaded beside the training counts when whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store.storage import Storage
from tasks.training.ranks.saving.pace import SHARE, CheckpointPace
from tasks.training.ranks.saving.uploads import Upload, mark_path

FOLDER = "training/r/f.checkpoints/step-00000010"
PATIENCE_S = 20.0


class Clock:
    """Time that passes when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_checkpoint_is_due_after_so_many_minutes() -> None:
    clock = Clock()
    pace = CheckpointPace(2, clock)
    clock.now += 119
    assert not pace.is_due()
    clock.now += 1
    assert pace.is_due()
    pace.note(0.5)
    assert not pace.is_due()
    clock.now += 120
    assert pace.is_due()


def test_one_that_takes_long_comes_less_often() -> None:
    clock = Clock()
    pace = CheckpointPace(2, clock)
    pace.note(60)
    clock.now += 60 / SHARE - 1
    assert not pace.is_due()
    clock.now += 1
    assert pace.is_due()
    pace.note(1)  # a faster one is not held to the slower one before
    clock.now += 120
    assert pace.is_due()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "root"))


def write_shards(folder: Path, rank: int) -> Path:
    folder.mkdir()
    (folder / f"shard-{rank}").write_bytes(bytes([rank]) * 10)
    return folder


def start(
    storage: Storage, local: Path, rank: int, declare: Callable[[], None] | None = None
) -> Upload:
    """Upload the files of one of two nodes, whose first ranks are 0 and 4."""
    return Upload(storage, FOLDER, write_shards(local, rank), rank, (0, 4), declare)


def test_it_counts_once_all_nodes_are_up(storage: Storage, tmp_path: Path) -> None:
    declared: list[tuple[str, ...]] = []
    first = start(storage, tmp_path / "a", 0, lambda: declared.append(storage.walk(FOLDER)))
    assert first.await_uploaded() is None
    assert not declared, "the other node has not begun"
    other = start(storage, tmp_path / "b", 4)
    assert other.await_uploaded() is None and other.await_declared() is None
    assert first.await_declared() is None
    assert declared == [(f"{FOLDER}/shard-0", f"{FOLDER}/shard-4")]
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_node_that_fails_is_told_and_not_waited_for(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = threading.Event()
    first = start(storage, tmp_path / "a", 0, declared.set)
    assert first.await_uploaded() is None

    def fail(*_: object) -> None:
        raise OSError("no route to the bucket")

    monkeypatch.setattr(Storage, "upload", fail)
    other = start(storage, tmp_path / "b", 4)
    assert other.await_uploaded() == "OSError: no route to the bucket"
    first.abandon()
    assert first.await_declared() is None
    assert not declared.is_set()
    assert storage.stat(mark_path(FOLDER, 4)) is None


def test_what_fails_at_the_end_is_told_as_well(storage: Storage, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("the marker cannot be written")

    storage.write_bytes(mark_path(FOLDER, 4), b"")
    first = start(storage, tmp_path / "a", 0, fail)
    assert first.await_uploaded() in (None, "RuntimeError: the marker cannot be written")
    assert first.await_declared() == "RuntimeError: the marker cannot be written"


def test_training_goes_on_beside_an_upload(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, upload = threading.Event(), Storage.upload

    def wait(self: Storage, path: str, local: Path) -> None:
        assert go_on.wait(PATIENCE_S)
        upload(self, path, local)

    monkeypatch.setattr(Storage, "upload", wait)
    storage.write_bytes(mark_path(FOLDER, 4), b"")
    declared = threading.Event()
    first = start(storage, tmp_path / "a", 0, declared.set)  # returns though nothing is up
    assert storage.stat(f"{FOLDER}/shard-0") is None and not declared.is_set()
    assert not first.await_end(0.01)
    go_on.set()
    assert first.await_end(PATIENCE_S)
    assert first.await_declared() is None and declared.is_set()
