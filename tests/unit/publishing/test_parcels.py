"""Proves that a parcel holds all that was exported, and says so before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.store.manifests import read_manifest
from infra.store.storage import Storage
from tasks.publishing.parcels import (
    Parcel,
    ParcelFile,
    describe_parcels,
    find_stale,
    pack_dataset,
    pack_model,
)

from .worlds import CARD, WEIGHTS, Exported, make_exported


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return make_exported(Storage(str(tmp_path / "store")), tmp_path)


def pack(exported: Exported) -> tuple[Parcel, Parcel]:
    storage = exported.storage
    return (
        pack_dataset(storage, "me/data", read_manifest(storage, exported.export.manifest)),
        pack_model(storage, "me/model", read_manifest(storage, exported.training.manifest)),
    )


def test_a_data_set_goes_with_its_card_and_nothing_else(exported: Exported) -> None:
    dataset, _ = pack(exported)
    folder = Path(exported.storage.url("export/x"))
    assert [file.name for file in dataset.files] == sorted(p.name for p in folder.iterdir())
    assert {file.name: file.size for file in dataset.files} == {
        path.name: path.stat().st_size for path in folder.iterdir()
    }
    assert dataset.card.startswith("---\npretty_name: OpenCharacter dialogues")


def test_a_model_goes_with_its_manifest_and_what_lies_beside(exported: Exported) -> None:
    _, model = pack(exported)
    assert [file.name for file in model.files] == [
        "README.md",
        "config.json",
        "export.json",
        "model.safetensors",
    ]
    recorded = {file.name: bool(file.digest) for file in model.files}
    assert recorded == {
        "README.md": False,
        "config.json": True,
        "export.json": True,
        "model.safetensors": True,
    }
    assert model.card == CARD
    assert model.size == sum(file.size for file in model.files) > len(WEIGHTS)


def make_parcel(kind: str, *names: str, card: str = "") -> Parcel:
    files = tuple(ParcelFile(name, f"x/{name}", 1, "") for name in names)
    return Parcel(kind, "me/x", files, card)  # type: ignore[arg-type]


def test_what_an_earlier_export_left_is_stale_and_what_people_added_is_not() -> None:
    present = [
        ".gitattributes",
        "LICENSE",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "old/model.safetensors",
        "config.json",
    ]
    parcel = make_parcel("model", "model.safetensors", "config.json")
    assert find_stale(parcel, present) == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    data = make_parcel("dataset", "sft_train.parquet", "README.md")
    held = [
        "sft_train.parquet",
        "sft_validation.parquet",
        "synthetic_dialogue.jsonl",
        "extra.jsonl",
    ]
    assert find_stale(data, held) == ["sft_validation.parquet", "synthetic_dialogue.jsonl"]


def test_a_dry_run_says_repositories_files_sizes_and_how_the_cards_begin(
    exported: Exported,
) -> None:
    text = describe_parcels(pack(exported), endpoint="http://hub.test", private=True)
    assert "Hub: http://hub.test" in text
    assert "## dataset me/data (private, made if missing)" in text
    assert f"| model.safetensors | {len(WEIGHTS):,} |" in text
    assert "license: apache-2.0\n---\n# Tiny\n````" in text
    assert "more lines\n" in text  # the data set's card is long


def test_a_card_cannot_break_out_of_its_frame() -> None:
    card = "`````\nescaped\n"
    text = describe_parcels([make_parcel("model", card=card)], endpoint=None, private=False)
    assert "\n``````text\n`````\nescaped\n``````\n" in text
    assert "(public if it has to be made)" in text
