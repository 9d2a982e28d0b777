"""Tells files of stages from files of others, by their names alone."""

from __future__ import annotations

import pytest

from infra.store.storage import Storage
from infra.store.survey import (
    find_owner,
    is_chunk,
    is_row_part,
    is_temporary,
    split_path,
    survey_store,
)
from tests.unit.infra.stores import name_node, write_notes

KEY, OTHER = "0a" * 16, "1b" * 16


@pytest.mark.parametrize(
    ("rest", "owner"),
    [
        (f"{KEY}.json", KEY),
        (f"{KEY}.members.parquet", KEY),
        (f"part-{KEY}-accepted.parquet", KEY),
        (f"{KEY}-train.arrow", KEY),
        (f"{KEY}/model.safetensors", KEY),
        (f"{KEY}.checkpoints/final/model.safetensors", KEY),
        (f"part-{KEY}.parquet", None),
        (f"part-c-{KEY}.parquet", None),
        ("notes.txt", None),
        (f"{KEY}{OTHER}.json", None),
    ],
)
def test_files_are_named_after_their_node_except_rows_that_nodes_share(
    rest: str, owner: str | None
) -> None:
    assert find_owner(rest) == owner


def test_row_parts_and_chunks_are_told_from_the_parts_of_sets() -> None:
    assert is_row_part(f"part-{KEY}.parquet") and not is_chunk(f"part-{KEY}.parquet")
    assert is_row_part(f"part-c-{KEY}.parquet") and is_chunk(f"part-c-{KEY}.parquet")
    assert not is_row_part(f"part-{KEY}-accepted.parquet")


@pytest.mark.parametrize(
    "path", ["personas/people.jsonl", f"runs/{KEY}/summary.json", f"prefect/{KEY}", "x.json"]
)
def test_what_is_not_in_the_folder_of_a_recipe_is_no_file_of_a_stage(path: str) -> None:
    assert split_path(path) is None
    assert split_path(f"personas/{KEY}/{OTHER}.json") == (f"personas/{KEY}", f"{OTHER}.json")


@pytest.mark.parametrize(
    ("path", "temporary"),
    [
        (f"personas/{KEY}/.{OTHER}.json.{KEY}.tmp", True),
        (f"training/{KEY}/.{OTHER}.{KEY}.tmp/model.safetensors", True),
        (f"training/{KEY}/.{OTHER}.{KEY}.old/model.safetensors", True),
        (f".probe-{KEY}", True),
        (f"personas/{KEY}/{OTHER}.json", False),
        (".hidden/notes.tmp", False),
    ],
)
def test_temporary_files_are_those_that_writers_here_name(path: str, temporary: bool) -> None:
    assert is_temporary(path) is temporary


def test_a_survey_lists_sizes_manifests_and_what_is_none(storage: Storage) -> None:
    node = name_node("notes")
    manifest = write_notes(storage, node, "a", "b", made=["a", "b"])
    bad = f"{node.folder}/{KEY}.json"
    storage.write_bytes(bad, b'{"format": 1}')

    survey = survey_store(storage)

    assert survey.manifests == {manifest.path: manifest}
    assert list(survey.unreadable) == [bad]
    assert survey.files["opencharacter-store.json"].size == 13
    assert survey.files[manifest.parts[0].path].size == manifest.parts[0].size
