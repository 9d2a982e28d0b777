"""Proves that what a kept node needs stays, and that the rest goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.store.garbage import Garbage, KeptNode, find_garbage, remove_garbage
from infra.store.manifests import NodeSpec, find_sound_manifest
from infra.store.row_store import list_parts, merge_chunks, read_committed
from infra.store.storage import Storage
from infra.store.survey import survey_store
from tests.unit.infra.stores import (
    commit_notes,
    damage,
    name_node,
    read_notes,
    write_notes,
    write_training,
)


def keep(*nodes: NodeSpec) -> list[KeptNode]:
    return [KeptNode(node.stage, node.recipe, node.fingerprint) for node in nodes]


def find(
    storage: Storage, kept: Sequence[NodeSpec], running: Sequence[NodeSpec] = ()
) -> dict[str, str]:
    garbage = find_garbage(storage, survey_store(storage), keep(*kept), keep(*running))
    return {item.path: item.why for item in garbage}


def clean(storage: Storage, *kept: NodeSpec) -> list[Garbage]:
    removed: list[Garbage] = []
    garbage = find_garbage(storage, survey_store(storage), keep(*kept))
    remove_garbage(storage, garbage, removed.append)
    return removed


def test_what_kept_nodes_reach_through_upstream_stays(storage: Storage) -> None:
    first = name_node("notes")
    second = name_node("answers", upstream=[first])
    third = name_node("scores", upstream=[second])
    kept = [write_notes(storage, node, "a", made=["a"]) for node in (first, second, third)]

    assert find(storage, [third]) == {}
    clean(storage, third)

    assert [read_notes(storage, manifest) for manifest in kept] == [["a"]] * 3


def test_another_recipe_goes_whole_with_its_cached_result(storage: Storage) -> None:
    kept, old = name_node("notes"), name_node("notes", prompt="older")
    manifest = write_notes(storage, kept, "a", made=["a"])
    gone = write_notes(storage, old, "a", made=["a"])
    loose = commit_notes(storage, old, "b")
    result = f"prefect/{old.fingerprint}"
    storage.write_bytes(result, b"{}")
    storage.write_bytes(f"prefect/{kept.fingerprint}", b"{}")

    removed = clean(storage, kept)

    assert {item.path for item in removed} == {
        gone.path, gone.parts[0].path, f"{old.folder}/{old.fingerprint}.members.parquet", loose,
        result,
    }  # fmt: skip
    assert removed[0].path == gone.path, "the manifest goes first"
    assert not Path(storage.url(old.folder)).exists()
    assert find_sound_manifest(storage, manifest.path) == manifest
    assert storage.stat(f"prefect/{kept.fingerprint}") is not None


def test_rows_that_a_kept_node_shares_stay_and_others_of_its_recipe_go(storage: Storage) -> None:
    small, large = name_node("notes", limit=2), name_node("notes", limit=4)
    manifest = write_notes(storage, small, "a", "b", made=["a", "b"])
    wider = write_notes(storage, large, "a", "b", "c", "d", made=["c", "d"])
    own = {part.path for part in wider.parts} - {part.path for part in manifest.parts}

    garbage = find(storage, [small])

    members = f"{large.folder}/{large.fingerprint}.members.parquet"
    assert set(garbage) == {wider.path, members, *own}
    assert find(storage, [large]).keys() == {
        manifest.path,
        f"{small.folder}/{small.fingerprint}.members.parquet",
    }
    clean(storage, small)
    assert read_notes(storage, manifest) == ["a", "b"]


def test_an_index_goes_with_the_parts_it_stands_for_and_not_without(storage: Storage) -> None:
    small, large = name_node("notes", limit=1), name_node("notes", limit=2)
    write_notes(storage, small, "a", made=["a"])
    index = f"{small.folder}/keys-{'0a' * 16}.parquet"

    # Not there while rows are written, who would read it.
    storage.write_bytes(index, b"keys")
    assert find(storage, [small]) == {}
    storage.remove(index)
    write_notes(storage, large, "a", "b", made=["b"])
    storage.write_bytes(index, b"keys")
    assert find(storage, [small])[index] == "index of removed parts"


def test_another_node_of_a_set_stage_goes_with_all_that_is_named_after_it(storage: Storage) -> None:
    kept, old = name_node("training", limit=2), name_node("training", limit=1)
    write_training(storage, kept)
    write_training(storage, old)

    garbage = find(storage, [kept])

    gone = {path for path, why in garbage.items() if why == "node of no kept run"}
    assert gone == {path for path in storage.walk(old.folder) if old.fingerprint in path}
    assert len(gone) == 6


def test_checkpoints_go_once_the_export_is_sound_and_what_reports_read_stays(
    storage: Storage,
) -> None:
    node = name_node("training")
    manifest = write_training(storage, node)
    base = f"{node.folder}/{node.fingerprint}"
    checkpoints = {
        f"{base}.checkpoints/step-00000050/whole.json",
        f"{base}.checkpoints/final/model.safetensors",
    }

    assert find(storage, [node]) == dict.fromkeys(checkpoints, "checkpoint of a finished training")
    assert find(storage, [node], running=[node]) == {}

    damage(storage, manifest.parts[0].path)
    assert find(storage, [node]) == {}


def test_checkpoints_of_an_unfinished_training_stay(storage: Storage) -> None:
    node = name_node("training")
    storage.remove(write_training(storage, node).path)

    assert find(storage, [node]) == {}


def test_an_unfinished_node_keeps_all_rows_of_its_recipe(storage: Storage) -> None:
    begun, other = name_node("notes", limit=9), name_node("notes", limit=2)
    write_notes(storage, other, "a", made=["a"])
    loose = commit_notes(storage, begun, "b")

    garbage = find(storage, [begun])

    assert set(garbage) == {
        f"{other.folder}/{other.fingerprint}.json",
        f"{other.folder}/{other.fingerprint}.members.parquet",
    }
    assert loose in find(storage, [other])


def test_a_run_at_work_keeps_rows_that_its_finished_looking_node_makes_anew(
    storage: Storage,
) -> None:
    node = name_node("notes")
    write_notes(storage, node, "a", made=["a"])
    loose = commit_notes(storage, node, "b")

    assert find(storage, [node]) == {loose: "rows of no kept run"}
    assert find(storage, [node], running=[node]) == {}


def test_a_replaced_chunk_goes_and_looking_for_it_removes_nothing(storage: Storage) -> None:
    node = name_node("notes")
    chunk = commit_notes(storage, node, "a")
    data = storage.read_bytes(chunk)
    merge_chunks(storage, node.folder, [chunk])
    storage.write_bytes(chunk, data)  # as if the process had died before removing it

    assert find(storage, [node]) == {chunk: "replaced chunk"}
    assert storage.stat(chunk) is not None
    clean(storage, node)
    assert read_committed(storage, node.folder)["key"].to_list() == ["a"]
    assert len(list_parts(storage, node.folder)[0]) == 1


def test_temporary_files_stay_while_a_run_may_write_them(storage: Storage) -> None:
    node = name_node("notes")
    write_notes(storage, node, "a", made=["a"])
    temporary = f"{node.folder}/.part.parquet.{'0a' * 16}.tmp"
    storage.write_bytes(temporary, b"half")

    assert find(storage, [node], running=[node]) == {}
    assert find(storage, [node]) == {temporary: "temporary"}


@pytest.mark.parametrize(
    "path",
    [
        f"sources/{'0a' * 16}/people.jsonl",
        "sources/people.jsonl",
        "runs/demo/report.html",
        f"prefect/{'0a' * 16}",
    ],
)
def test_what_no_stage_wrote_stays(storage: Storage, path: str) -> None:
    node = name_node("notes")
    write_notes(storage, node, "a", made=["a"])
    storage.write_bytes(path, b"mine")

    assert find(storage, [node]) == {}


def test_a_folder_with_a_manifest_that_cannot_be_read_is_left_alone(storage: Storage) -> None:
    kept, old = name_node("notes"), name_node("notes", prompt="older")
    write_notes(storage, kept, "a", made=["a"])
    storage.write_bytes(write_notes(storage, old, "a", made=["a"]).path, b"{")

    assert find(storage, [kept]) == {}
