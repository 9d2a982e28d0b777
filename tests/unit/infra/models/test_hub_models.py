"""Fetches models from a hub that is faked into a hub's cache, and looks at whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from infra.models import hub_models
from infra.models.hub_models import bring_hub_model, measure_hub_model
from infra.models.node_cache import list_entries

NAME, COMMIT = "tester/tiny", "0123456789" * 4
SIZES = {"README.md": 3, "config.json": 2, "model.safetensors": 9_000}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the model in the hub's cache; the hub has it whole."""
    folder = tmp_path / "hub" / "models--tester--tiny"

    def list_files(name: str, revision: str) -> Any:
        siblings = [SimpleNamespace(rfilename=file, size=size) for file, size in SIZES.items()]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def download(name: str, *, revision: str, allow_patterns: Sequence[str]) -> None:
        for file in allow_patterns:
            place(folder, file)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_models, "_list", list_files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return folder


def place(folder: Path, file: str, size: int | None = None) -> None:
    """Lay a file down as the hub's library does: a blob, and a link to it in the snapshot."""
    blob, link = folder / "blobs" / file, folder / "snapshots" / COMMIT / file
    blob.parent.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        blob.write_bytes(b"x" * (SIZES[file] if size is None else size))
        link.symlink_to(blob)


def remove_all() -> None:
    """Remove what may go; the lock of this process's own use is let go as if it had ended."""
    for entry in list_entries():
        for lock in entry.kept.parent.glob("*.use"):
            lock.unlink()
        assert entry.remove()


@pytest.mark.parametrize("there", [["config.json"], []])
def test_a_model_without_weights_is_fetched_and_goes_again(
    there: list[str], repository: Path
) -> None:
    for file in there:
        place(repository, file)
    bring_hub_model(NAME, COMMIT)
    assert measure_hub_model(NAME, COMMIT) == (9_005, 9_005)
    assert [entry.size >= 9_005 for entry in list_entries()] == [True]
    remove_all()
    assert not (repository / "snapshots" / COMMIT).exists()


def test_a_copy_of_a_model_under_another_name_has_its_commits_and_stays(repository: Path) -> None:
    copies = [repository.with_name(f"models--tester--copy{number}") for number in range(9)]
    for copy in copies:
        place(copy, "model.safetensors")
    bring_hub_model(NAME, COMMIT)
    remove_all()
    assert not (repository / "snapshots" / COMMIT).exists()
    assert all((copy / "snapshots" / COMMIT / "model.safetensors").is_file() for copy in copies)


@pytest.mark.parametrize("there", [list(SIZES)[1:], ["model.safetensors"], ["pytorch_model.bin"]])
def test_a_model_whose_weights_were_there_is_the_users_own(
    there: list[str], repository: Path
) -> None:
    for file in there:
        place(repository, file, SIZES.get(file, 7))
    bring_hub_model(NAME, COMMIT)
    assert measure_hub_model(NAME, COMMIT) == (9_005, 9_005)
    remove_all()
    snapshot = repository / "snapshots" / COMMIT
    assert {*SIZES, *there} == {path.name for path in snapshot.iterdir()}
    assert all(path.is_file() for path in snapshot.iterdir())


def test_what_a_run_began_to_fetch_is_still_its_own_when_another_goes_on(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(name: str, **_: object) -> None:
        place(repository, "model.safetensors")
        raise OSError("the connection was lost")

    with monkeypatch.context() as broken:
        broken.setattr(huggingface_hub, "snapshot_download", cut)
        bring_hub_model(NAME, COMMIT)
    bring_hub_model(NAME, COMMIT)
    assert measure_hub_model(NAME, COMMIT) == (9_005, 9_005)
    remove_all()
    assert not (repository / "snapshots" / COMMIT).exists()
