"""Tests that only whole checkpoints of the same job are found and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.store.storage import Storage
from tasks.training.ranks.saving.checkpoints import (
    MARKER,
    Checkpoint,
    checkpoint_name,
    clear_folder,
    download,
    find_newest,
    list_whole,
    prune,
    write_marker,
)

FOLDER = "training/r/f.checkpoints"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def save(storage: Storage, step: int, *, fingerprint: str = "f", base: str = "b") -> Checkpoint:
    folder = f"{FOLDER}/{checkpoint_name(step)}"
    storage.write_bytes(f"{folder}/latest", b"global_step")
    storage.write_bytes(f"{folder}/global_step/shard_0.pt", bytes(100))
    return write_marker(
        storage, folder, fingerprint=fingerprint, base=base, ranks=2, layout="zero-1"
    )


def steps(storage: Storage) -> list[int]:
    return [checkpoint.marker.step for checkpoint in list_whole(storage, FOLDER)]


def test_the_newest_whole_one_is_found(storage: Storage) -> None:
    assert find_newest(storage, FOLDER, "f", "b") is None
    for step in (100, 50, 1_000_000_000):
        save(storage, step)
    newest = find_newest(storage, FOLDER, "f", "b")
    assert newest is not None
    assert (newest.marker.step, newest.marker.ranks) == (1_000_000_000, 2)
    assert newest.marker.files == {"latest": 11, "global_step/shard_0.pt": 100}
    assert steps(storage) == [50, 100, 1_000_000_000]


def test_half_of_one_is_not_whole(storage: Storage) -> None:
    save(storage, 50)
    for step, harm in ((60, "no marker"), (70, "missing"), (80, "short"), (90, "garbled")):
        folder = save(storage, step).folder
        if harm == "no marker":
            storage.remove(f"{folder}/{MARKER}")
        elif harm == "missing":
            storage.remove(f"{folder}/global_step/shard_0.pt")
        elif harm == "short":
            storage.write_bytes(f"{folder}/global_step/shard_0.pt", bytes(99))
        else:
            storage.write_bytes(f"{folder}/{MARKER}", b"{")
    assert steps(storage) == [50]


@pytest.mark.parametrize(
    ("other", "told"),
    [({"fingerprint": "g"}, "another job: g"), ({"base": "c"}, "another base model: c")],
)
def test_one_of_another_training_is_refused(
    storage: Storage, other: dict[str, str], told: str
) -> None:
    save(storage, 50)
    save(storage, 60, **other)
    with pytest.raises(ConfigError) as caught:
        find_newest(storage, FOLDER, "f", "b")
    assert told in str(caught.value)
    assert f"remove {storage.url(FOLDER)}" in str(caught.value)


def test_pruning_keeps_the_newest_and_sweeps_up_halves(storage: Storage, tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(storage, step)
    storage.remove(f"{FOLDER}/{checkpoint_name(40)}/{MARKER}")
    storage.write_bytes(f"{FOLDER}/final/model.safetensors", b"kept")
    prune(storage, FOLDER, keep=2)
    assert steps(storage) == [20, 30]
    left = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert left == ["final", "step-00000020", "step-00000030"]


def test_removing_starts_with_the_marker(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, removed = save(storage, 10).folder, []
    monkeypatch.setattr(Storage, "remove", lambda self, path: removed.append(path))
    clear_folder(storage, folder)
    assert removed[0] == f"{folder}/{MARKER}"
    assert len(removed) == 3


def test_only_the_folder_of_a_step_can_be_declared_whole(storage: Storage) -> None:
    with pytest.raises(ValueError, match="final"):
        write_marker(storage, f"{FOLDER}/final", fingerprint="f", base="b", ranks=1, layout="ddp")


def test_downloading_brings_all_files(storage: Storage, tmp_path: Path) -> None:
    download(storage, save(storage, 10), tmp_path / "local")
    assert (tmp_path / "local" / "global_step" / "shard_0.pt").stat().st_size == 100
