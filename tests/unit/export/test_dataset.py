"""Proves that the release's files are written, load, and depend on no order."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.store.storage import Storage
from tasks.export.rows import make_character_rows
from tasks.records import Character

from .worlds import CHARACTERS, DIALOGUES, EXAMPLES, NASTY, export_world, make_frame

DIALOGUE_KEYS = [
    "character_id",
    "persona",
    "character",
    "question_source",
    "question_id",
    "question",
    "character_answer",
    "dialogue_id",
    "turn",
    "history",
    "strategy",
]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "root"))


def read_lines(storage: Storage, name: str) -> list[dict[str, Any]]:
    text = storage.read_bytes(f"export/x/{name}").decode("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_files_of_the_release_are_written(storage: Storage) -> None:
    export = export_world(storage)
    assert [part.path.removeprefix("export/x/") for part in export.files] == [
        "synthetic_character.parquet",
        "synthetic_character.jsonl",
        "synthetic_dialogue.parquet",
        "synthetic_dialogue.jsonl",
        "sft_train.parquet",
        "sft_validation.parquet",
        "README.md",
    ]
    assert (export.characters, export.dialogues, export.dialogue_rows, export.sft_rows) == (
        2,
        2,
        3,
        2,
    )
    rows = read_lines(storage, "synthetic_dialogue.jsonl")
    assert list(rows[0]) == DIALOGUE_KEYS
    assert rows[2]["history"] == [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2"},
    ]
    assert list(read_lines(storage, "synthetic_character.jsonl")[0]) == DIALOGUE_KEYS[:3]


def test_all_dialogues_leave_when_asked(storage: Storage) -> None:
    assert export_world(storage, scope="all").dialogues == 3


def test_order_changes_no_byte(storage: Storage, tmp_path: Path) -> None:
    other = Storage(str(tmp_path / "other"))
    one = export_world(storage)
    two = export_world(
        other, characters=CHARACTERS[::-1], dialogues=DIALOGUES[::-1], examples=EXAMPLES[::-1]
    )
    assert [part.digest for part in one.files] == [part.digest for part in two.files]


@pytest.mark.parametrize("formats", [("jsonl", "parquet"), ("jsonl",)])
def test_load_dataset_opens_the_folder(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    export_world(storage, formats=formats, cards=True)

    def load(config: str) -> Any:
        folder, cache = storage.url("export/x"), str(tmp_path / "cache")
        return datasets.load_dataset(folder, config, cache_dir=cache)

    characters = load("characters")["train"]
    expected = make_character_rows(make_frame(Character, CHARACTERS))
    assert characters["persona"] == [row.persona for row in expected.values()]
    assert characters["character"] == [row.character for row in expected.values()]
    dialogues = load("dialogues")["train"]
    assert dialogues.column_names == DIALOGUE_KEYS
    assert dialogues[0]["character_answer"] == NASTY + "!"
    assert dialogues[2]["history"][3] == {"role": "assistant", "content": "a2"}
    sft = load("sft")
    assert {split: rows.num_rows for split, rows in sft.items()} == {"train": 1, "validation": 1}
    assert sft["train"][0]["messages"][0] == {"role": "system", "content": NASTY}


def test_an_empty_run_still_exports(storage: Storage) -> None:
    export = export_world(storage, characters=(), dialogues=(), examples=())
    assert (export.characters, export.dialogue_rows, export.sft_rows) == (0, 0, 0)
    assert b"0 characters" in storage.read_bytes("export/x/README.md")
