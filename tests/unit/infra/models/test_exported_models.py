"""Proves that an export is published whole, names its content, and is noticed when it changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.engines.config import ModelConfig
from infra.engines.identity import identify_model
from infra.errors import ConfigError
from infra.models.exported import (
    ExportManifest,
    publish_export,
    read_export,
    seal_export,
    verify_export,
    withdraw_export,
)
from infra.models.folders import fetch_export
from infra.store.manifests import digest_bytes
from infra.store.storage import Storage


def build_export(folder: Path, *, weights: bytes = b"weights", card: str = "card") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text(card)
    seal(folder)
    return folder


def seal(folder: Path) -> ExportManifest:
    return seal_export(
        folder,
        fingerprint="f" * 32,
        base="weights:1",
        dtype="bfloat16",
        parameters=7,
        template="llama3",
        beside=("README.md", "curves.png"),
    )


def test_the_manifest_names_what_decides_and_mentions_what_is_beside(tmp_path: Path) -> None:
    folder = build_export(tmp_path / "export")
    manifest = verify_export(folder)
    assert [file.name for file in manifest.files] == ["config.json", "model.safetensors"]
    assert manifest.files[1].size == 7
    assert manifest.files[1].digest == digest_bytes(b"weights")
    assert manifest.beside == ("README.md", "curves.png")  # which may come later


def test_the_identity_moves_with_the_weights_and_not_with_the_card(tmp_path: Path) -> None:
    def identify(folder: Path) -> str:
        return identify_model(ModelConfig(model=str(folder)))

    one = identify(build_export(tmp_path / "one"))
    assert identify(build_export(tmp_path / "two", card="another")) == one
    assert identify(build_export(tmp_path / "three", weights=b"others!")) != one


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    folder = build_export(tmp_path / "export")
    (folder / "model.safetensors").write_bytes(b"weighty")
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError) as caught:
        verify_export(folder)
    told = {Path(problem.where).name: problem.what for problem in caught.value.problems}
    assert told == {"config.json": "is missing", "model.safetensors": "was changed"}
    (folder / "README.md").unlink()
    (folder / "model.safetensors").write_bytes(b"weights+")
    with pytest.raises(ConfigError, match="8 bytes instead of 7"):
        verify_export(folder)


def test_published_folders_are_moved_and_fetched_where_they_lie(
    storage: Storage, tmp_path: Path
) -> None:
    folder = build_export(tmp_path / "export")
    parts = publish_export(storage, "training/x/export", folder)
    assert not folder.exists()
    assert {part.path.rsplit("/", 1)[-1] for part in parts} == {
        "config.json", "model.safetensors", "export.json",
    }  # fmt: skip
    for part in parts:
        assert digest_bytes(storage.read_bytes(part.path)) == part.digest
        assert storage.stat(part.path) is not None
    found = fetch_export(storage, "training/x/export")
    assert found == Path(storage.url("training/x/export"))
    assert (found / "README.md").read_text() == "card"


def test_publishing_again_replaces_what_differs_and_keeps_what_is_the_same(
    storage: Storage, tmp_path: Path
) -> None:
    publish_export(storage, "e", build_export(tmp_path / "one"))
    kept = Path(storage.url("e/model.safetensors"))
    inode = kept.stat().st_ino
    publish_export(storage, "e", build_export(tmp_path / "two"))
    assert kept.stat().st_ino == inode
    kept.write_bytes(b"damaged")
    publish_export(storage, "e", build_export(tmp_path / "three"))
    assert kept.read_bytes() == b"weights"
    publish_export(storage, "e", build_export(tmp_path / "four", weights=b"new"))
    assert kept.read_bytes() == b"new"
    assert [path.name for path in kept.parent.parent.iterdir()] == ["e"]


def test_nothing_is_left_of_a_withdrawn_export(storage: Storage, tmp_path: Path) -> None:
    publish_export(storage, "e", build_export(tmp_path / "one"))
    withdraw_export(storage, "e")
    assert storage.walk("e") == ()
    with pytest.raises(ConfigError, match="the manifest is missing"):
        fetch_export(storage, "e")
    withdraw_export(storage, "e")


def test_an_unsealed_folder_is_neither_published_nor_fetched(
    storage: Storage, tmp_path: Path
) -> None:
    folder = build_export(tmp_path / "export")
    shutil.copytree(folder, storage.url("half"))
    for path in (folder, Path(storage.url("half"))):
        (path / "export.json").unlink()
    with pytest.raises(ConfigError, match="the manifest is missing"):
        publish_export(storage, "whole", folder)
    with pytest.raises(ConfigError, match="the manifest is missing"):
        fetch_export(storage, "half")
    (folder / "export.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match="not an export manifest"):
        read_export(folder)
