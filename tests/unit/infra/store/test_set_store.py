"""Proves that set nodes are written whole, read by what they hold, and never silently empty."""

from __future__ import annotations

import pytest

from infra.errors import YieldError
from infra.store.manifests import NodeRef, find_sound_manifest, read_manifest, write_file
from infra.store.reading import read_accepted, read_first, read_rejected_frame
from infra.store.set_store import Rejection, read_set, revive, write_set
from infra.store.storage import Storage
from tests.unit.infra.nodes import NODE, Note

NOTES = [Note("b", "two"), Note("a", "one")]
LEFT = [
    Rejection("c", "empty", "", "file:1"),
    Rejection("e", "long", "x", "file:2"),
    Rejection("d", "empty", "", "file:3"),
]


def write(storage: Storage, accepted: list[Note], *, may_be_empty: bool = False) -> NodeRef:
    return write_set(
        storage,
        NODE,
        accepted,
        LEFT,
        record=Note,
        provenance={"made_at": "now"},
        seconds=1.23456,
        may_be_empty=may_be_empty,
    )


def test_accepted_and_rejected_rows_are_read_apart(storage: Storage) -> None:
    reference = write(storage, NOTES)
    assert revive(Note, read_set(storage, reference, "accepted")) == NOTES
    assert revive(Rejection, read_set(storage, reference, "rejected")) == LEFT


def test_readers_of_any_stage_get_them_by_key(storage: Storage) -> None:
    reference = write(storage, NOTES)
    by_key = sorted(NOTES, key=lambda note: note.key)
    assert read_accepted(storage, reference, Note) == by_key
    assert read_first(storage, reference, Note, 1) == by_key[:1]
    assert read_rejected_frame(storage, reference)["key"].to_list() == ["c", "d", "e"]


def test_in_is_out_plus_rejected_with_the_commonest_reason_first(storage: Storage) -> None:
    manifest = read_manifest(storage, write(storage, NOTES).manifest)
    counts = manifest.counts
    assert (counts.planned, counts.accepted, counts.rejected) == (5, 2, 3)
    assert list(manifest.reasons.items()) == [("empty", 2), ("long", 1)]
    assert manifest.usage.seconds == 1.235


def test_the_node_is_done_and_sound_once_written(storage: Storage) -> None:
    write(storage, NOTES)
    assert find_sound_manifest(storage, NODE.manifest_path) is not None


def test_further_files_belong_to_the_node(storage: Storage) -> None:
    file = write_file(storage, f"{NODE.folder}/card.md", b"# Card")
    write_set(
        storage,
        NODE,
        NOTES,
        [],
        record=Note,
        provenance={},
        seconds=0.0,
        files=[file],
    )
    storage.remove(file.path)
    assert find_sound_manifest(storage, NODE.manifest_path) is None


def test_nothing_accepted_stops_the_run_with_the_reasons_and_no_manifest(storage: Storage) -> None:
    with pytest.raises(YieldError, match=r"none of 3 rows.*'empty': 2"):
        write(storage, [])
    assert not storage.walk("")


def test_a_stage_that_may_be_empty_is_empty(storage: Storage) -> None:
    reference = write(storage, [], may_be_empty=True)
    assert read_accepted(storage, reference, Note) == []
