"""Damages stores in every way a check must notice."""

from __future__ import annotations

import os
from pathlib import Path

from infra.store.damaged_files import find_damage
from infra.store.manifests import STORE_MARKER, NodeSpec, is_done, write_manifest
from infra.store.row_store import write_members
from infra.store.soundness import Examined, Soundness, check_store
from infra.store.storage import Storage
from infra.store.survey import survey_store
from tests.unit.infra.nodes import make_plan
from tests.unit.infra.stores import commit_notes, damage, name_node, write_notes, write_training

NOTES = name_node("notes")
TRAINING = name_node("training", upstream=[NOTES])


def check(storage: Storage) -> Soundness:
    return check_store(storage, survey_store(storage), lambda _: None)


def find_faults(storage: Storage) -> dict[str, str]:
    return {fault.path: fault.what for fault in check(storage).faults}


def make_store(storage: Storage, node: NodeSpec = NOTES) -> str:
    """Write a sound store and return the path of a part with rows."""
    write_training(storage, TRAINING)
    return write_notes(storage, node, "a", "b", made=["a", "b"]).parts[0].path


def test_a_sound_store_has_no_fault_and_its_loose_files_are_counted(storage: Storage) -> None:
    make_store(storage)
    seen: list[Examined] = []
    found = check_store(storage, survey_store(storage), seen.append)

    assert found.faults == ()
    assert (found.manifests, found.files) == (2, 4)
    assert {stat.path.rsplit(".", 1)[-1] for stat in found.loose} == {
        "jsonl", "json", "safetensors",
    }  # fmt: skip
    assert (seen[-1].files, seen[-1].size) == (4, seen[-1].all_size)
    assert found.size == seen[-1].all_size > 0


def test_one_changed_byte_is_found_though_size_and_manifest_agree(storage: Storage) -> None:
    part = make_store(storage)
    damage(storage, part)

    faults = find_faults(storage)

    assert list(faults) == [part]
    assert faults[part].startswith("was changed (named by notes/")


def test_missing_and_cut_files_are_found(storage: Storage) -> None:
    part = make_store(storage)
    model = f"{TRAINING.folder}/{TRAINING.fingerprint}/model.safetensors"
    storage.write_bytes(model, b"export")
    storage.remove(part)

    faults = find_faults(storage)

    assert faults[part].startswith("is missing")
    assert faults[model].startswith("has 6 bytes instead of 8")


def test_a_member_whose_row_is_in_no_part_is_found(storage: Storage) -> None:
    make_store(storage)
    manifest = next(m for m in survey_store(storage).manifests.values() if m.stage == "notes")
    assert manifest.members is not None
    members = write_members(storage, manifest.members.path, make_plan("a", "lost"))
    write_manifest(storage, manifest.model_copy(update={"members": members}))

    assert find_faults(storage) == {manifest.path: "1 of its 2 rows are in none of its parts"}


def test_counts_that_do_not_add_up_are_found(storage: Storage) -> None:
    make_store(storage)
    manifest = next(m for m in survey_store(storage).manifests.values() if m.stage == "notes")
    counts = manifest.counts.model_copy(update={"accepted": 1})
    write_manifest(storage, manifest.model_copy(update={"counts": counts}))

    faults = find_faults(storage)

    assert faults[manifest.path].startswith("does not add up: 2 planned, 1 accepted, 0 rejected")


def test_a_manifest_that_was_moved_or_broken_is_found(storage: Storage) -> None:
    make_store(storage)
    other = f"{NOTES.folder}/{'0a' * 16}.json"
    storage.write_bytes(other, storage.read_bytes(NOTES.manifest_path))
    broken = f"{NOTES.folder}/{'1b' * 16}.json"
    storage.write_bytes(broken, b"{}")

    faults = find_faults(storage)

    assert faults[other].endswith(f"is the manifest of {NOTES.manifest_path}")
    assert faults[broken].startswith("is no manifest")


def test_a_marker_that_is_gone_or_of_another_format_is_found(storage: Storage) -> None:
    make_store(storage)
    storage.write_bytes(STORE_MARKER, b'{"format": 7}')
    assert find_faults(storage) == {STORE_MARKER: "says format 7, not 1"}
    storage.remove(STORE_MARKER)
    assert "is missing" in find_faults(storage)[STORE_MARKER]


def test_a_cut_chunk_is_found_before_a_run_falls_over_it(storage: Storage) -> None:
    make_store(storage)
    chunk = commit_notes(storage, NOTES, "c")
    assert find_faults(storage) == {}
    storage.write_bytes(chunk, storage.read_bytes(chunk)[:-9])

    assert find_faults(storage)[chunk].startswith("is no readable part")


def test_what_was_damaged_without_a_trace_is_shown_to_the_next_run(storage: Storage) -> None:
    part = make_store(storage)
    file = Path(storage.url(part))
    before = file.stat()
    damage(storage, part)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_done(storage, NOTES)

    assert list(find_faults(storage)) == [part]

    assert not is_done(storage, NOTES)
    assert find_damage(storage, NOTES) == {part: "was changed"}
