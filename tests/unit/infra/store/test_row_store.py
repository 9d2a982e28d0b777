"""Proves that committed rows are neither lost nor doubled, wherever a process dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import polars as pl
import pytest

from infra.errors import Reject
from infra.store import row_store
from infra.store.manifests import Manifest, PartRef, write_manifest
from infra.store.reading import read_accepted, read_first
from infra.store.row_store import (
    MadeRow,
    await_listed,
    commit_chunk,
    compact_chunks,
    encode_rows,
    find_pending,
    list_parts,
    merge_chunks,
    parents_digest,
    read_committed,
    read_part_rows,
    read_rows,
    reject_detail,
    row_schema,
    take_planned,
    write_members,
)
from infra.store.schema import from_plain
from infra.store.storage import FileStat, Storage
from tasks.records import Turn
from tests.unit.infra.nodes import NODE, Note, make_manifest, make_plan, make_row, reject_row

FOLDER = NODE.folder


class Crash(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def commit(storage: Storage, *rows: MadeRow) -> PartRef:
    return commit_chunk(storage, FOLDER, encode_rows(Note, rows))


def find_node(storage: Storage, *keys: str, digest: str = "d") -> Manifest:
    """Finish a node that plans these keys, as the stage runner does."""
    planned = make_plan(*keys, digest=digest)
    parts, _ = take_planned(storage, compact_chunks(storage, FOLDER), planned)
    members = write_members(storage, f"{FOLDER}/x.members.parquet", planned)
    return make_manifest(parts, members)


def read_keys(storage: Storage) -> list[str]:
    return sorted(read_committed(storage, FOLDER)["key"].to_list())


def count_files(storage: Storage) -> int:
    return len(storage.list(FOLDER, ".parquet"))


def crash_at(monkeypatch: pytest.MonkeyPatch, method: str, call: int) -> None:
    """Let the n-th call of a storage method end the process before it does anything."""
    real = getattr(Storage, method)
    calls = [0]

    def die(self: Storage, *args: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            raise Crash
        return real(self, *args)

    monkeypatch.setattr(Storage, method, die)


@dataclass(frozen=True, slots=True)
class Told:
    key: str
    said: tuple[Turn, ...]
    last: Turn | None
    share: float | None
    tags: tuple[str, ...]


TOLD = [
    Told("b", (Turn("user", "Hi"), Turn("assistant", "Ho")), None, 0.5, ("x",)),
    Told("d", (), Turn("user", "é"), None, ()),
]


@pytest.mark.parametrize("records", [TOLD, TOLD[:1], []], ids=["two", "one", "none"])
def test_rejects_stand_between_accepted_rows_with_an_empty_record(records: list[Told]) -> None:
    made = [replace(make_row(record.key), record=record) for record in reversed(records)]
    table = encode_rows(Told, [*made, reject_row("c"), reject_row("a")])
    assert table.schema == row_schema(Told)
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == sorted([*(record.key for record in records), "a", "c"])
    accepted = [row for row in rows if row["status"] == "accepted"]
    assert [from_plain(Told, row) for row in accepted] == records
    for row in (row for row in rows if row["status"] == "rejected"):
        assert [row[name] for name in ("said", "last", "share", "tags")] == [None] * 4
        assert (row["reason"], row["detail"], row["attempts"]) == ("empty", "raw", 3)


def test_a_chunk_is_committed_with_its_records_and_its_rejects(storage: Storage) -> None:
    commit(storage, make_row("b"), reject_row("c"), make_row("a"))
    frame = read_rows(storage, find_node(storage, "a", "b", "c"))
    assert frame.select("key", "status", "text", "reason").rows() == [
        ("a", "accepted", "text of a", ""),
        ("b", "accepted", "text of b", ""),
        ("c", "rejected", None, "empty"),
    ]


def test_the_same_rows_are_the_same_part_in_any_order(storage: Storage) -> None:
    one = commit(storage, make_row("a"), make_row("b"))
    two = commit(storage, make_row("b"), make_row("a"))
    assert (one.path, one.digest) == (two.path, two.digest)
    assert count_files(storage) == 1


def test_an_empty_store_has_nothing_committed(storage: Storage) -> None:
    planned = make_plan("a", "b")
    assert find_pending(planned, read_committed(storage, FOLDER)).equals(planned)


def test_a_row_is_done_only_if_key_and_digest_match(storage: Storage) -> None:
    commit(storage, make_row("a", digest="old"), reject_row("b", digest="new"))
    planned = pl.concat([make_plan("b", "a", "c", digest="new"), make_plan("a", digest="old")])
    pending = find_pending(planned, read_committed(storage, FOLDER))
    assert pending.rows() == [("a", "new"), ("c", "new")]


def test_a_row_made_again_from_changed_parents_stands_beside_the_old_one(
    storage: Storage,
) -> None:
    commit(storage, make_row("a", digest="old", text="before"))
    commit(storage, make_row("a", digest="new", text="after"))
    for digest, text in (("old", "before"), ("new", "after")):
        rows = read_rows(storage, find_node(storage, "a", digest=digest))
        assert rows["text"].to_list() == [text]


def test_a_row_that_two_workers_made_counts_once(storage: Storage) -> None:
    commit(storage, make_row("a"), make_row("b"))
    commit(storage, make_row("b"), make_row("c"))
    assert read_keys(storage) == ["a", "b", "c"]
    rows = read_rows(storage, find_node(storage, "a", "b", "c"))
    assert rows["key"].to_list() == ["a", "b", "c"]


def test_a_row_that_lies_in_two_compacted_parts_is_read_once(storage: Storage) -> None:
    for keys in ("ab", "bc"):
        commit(storage, *(make_row(key) for key in keys))
        compact_chunks(storage, FOLDER)
    manifest = find_node(storage, "a", "b", "c")
    assert len(manifest.parts) == 2
    assert read_rows(storage, manifest)["key"].to_list() == ["a", "b", "c"]
    assert read_keys(storage) == ["a", "b", "c"]


def test_a_reader_may_take_only_some_columns(storage: Storage) -> None:
    commit(storage, make_row("a"), reject_row("b"))
    rows = read_rows(storage, find_node(storage, "a", "b"), ["status"])
    assert rows.columns == ["key", "parents_digest", "status"]
    assert rows["status"].to_list() == ["accepted", "rejected"]


def test_rows_of_before_parents_were_kept_stay_beside_new_ones(storage: Storage) -> None:
    old = encode_rows(Note, [make_row("a"), make_row("b")]).drop_columns(["parents"])
    commit_chunk(storage, FOLDER, old)
    compact_chunks(storage, FOLDER)
    commit_chunk(storage, FOLDER, encode_rows(Note, [make_row("c")]).drop_columns(["parents"]))
    child = replace(make_row("d").envelope, parents=("a", "b"))
    commit(storage, MadeRow(child, make_row("d").record))
    manifest = find_node(storage, "a", "b", "c", "d")
    assert len(manifest.parts) == 2
    named = read_rows(storage, manifest, ["parents"])
    assert named["parents"].to_list() == [None, None, None, ["a", "b"]]
    whole = read_rows(storage, manifest)
    assert whole["text"].to_list() == [f"text of {key}" for key in "abcd"]
    assert [row.key for row in read_part_rows(storage, FOLDER, Note)] == list("abcd")


def test_rows_of_before_parents_were_kept_are_read_alone(storage: Storage) -> None:
    commit_chunk(storage, FOLDER, encode_rows(Note, [make_row("a")]).drop_columns(["parents"]))
    manifest = find_node(storage, "a")
    assert read_rows(storage, manifest, ["parents"])["parents"].to_list() == [None]


def test_a_column_that_no_store_ever_had_is_an_error(storage: Storage) -> None:
    commit(storage, make_row("a"))
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        read_rows(storage, find_node(storage, "a"), ["txet"])


def test_readers_see_only_the_members_of_their_node(storage: Storage) -> None:
    commit(storage, make_row("a"), make_row("b"), make_row("c"))
    assert read_rows(storage, find_node(storage, "c", "a"))["key"].to_list() == ["a", "c"]


def test_a_set_manifest_has_no_members_to_read(storage: Storage) -> None:
    with pytest.raises(ValueError, match="not the manifest of a row stage"):
        read_rows(storage, make_manifest([]))


def test_compaction_leaves_one_part_with_every_row(storage: Storage) -> None:
    for key in "cab":
        commit(storage, make_row(key))
    (part,) = compact_chunks(storage, FOLDER)
    assert count_files(storage) == 1
    assert part.rows == 3
    assert read_keys(storage) == ["a", "b", "c"]


def test_a_compacted_part_is_never_rewritten_so_older_manifests_stay_sound(
    storage: Storage,
) -> None:
    commit(storage, make_row("a"))
    (first,) = compact_chunks(storage, FOLDER)
    commit(storage, make_row("b"))
    parts = compact_chunks(storage, FOLDER)
    assert first in parts
    assert len(parts) == 2
    assert compact_chunks(storage, FOLDER) == parts


def test_merging_some_chunks_leaves_the_others_alone(storage: Storage) -> None:
    paths = [commit(storage, make_row(key)).path for key in "abc"]
    merge_chunks(storage, FOLDER, paths[:2])
    compacted, chunks = list_parts(storage, FOLDER)
    assert len(compacted) == 1
    assert [stat.path for stat in chunks] == paths[2:]
    assert read_keys(storage) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("method", "call"),
    [("write_bytes", 1), ("remove", 1), ("remove", 2), ("remove", 3)],
    ids=["before the merged part", "before any removal", "after one removal", "after two"],
)
def test_a_crash_during_compaction_neither_loses_nor_doubles_a_row(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    for key in "abc":
        commit(storage, make_row(key), reject_row(f"{key}x"))
    keys = ["a", "ax", "b", "bx", "c", "cx"]
    with monkeypatch.context() as patched:
        crash_at(patched, method, call)
        with pytest.raises(Crash):
            compact_chunks(storage, FOLDER)
    committed = read_committed(storage, FOLDER)
    assert sorted(committed["key"].to_list()) == keys
    assert find_pending(make_plan(*keys), committed).is_empty()
    parts = compact_chunks(storage, FOLDER)
    assert sum(part.rows for part in parts) == 6
    assert count_files(storage) == len(parts) == 1
    assert read_rows(storage, find_node(storage, *keys))["key"].to_list() == keys


def test_a_listing_clears_away_what_a_crash_left(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "ab":
        commit(storage, make_row(key))
    with monkeypatch.context() as patched:
        crash_at(patched, "remove", 1)
        with pytest.raises(Crash):
            compact_chunks(storage, FOLDER)
    commit(storage, make_row("c"))
    compacted, chunks = list_parts(storage, FOLDER)
    assert (len(compacted), len(chunks)) == (1, 1)
    assert count_files(storage) == 2


def test_only_parts_with_planned_rows_enter_a_manifest(storage: Storage) -> None:
    commit(storage, make_row("a"))
    compact_chunks(storage, FOLDER)
    commit(storage, make_row("b"))
    parts = compact_chunks(storage, FOLDER)
    (kept,), rows = take_planned(storage, parts, make_plan("b"), ["status"])
    assert kept in parts
    assert rows.rows() == [("b", "d", "accepted")]
    none, rows = take_planned(storage, parts, make_plan("a", digest="other"))
    assert (none, rows.height) == ([], 0)


def test_the_first_rows_are_those_with_the_smallest_keys(storage: Storage) -> None:
    commit(storage, make_row("d"), make_row("b"), reject_row("a"))
    compact_chunks(storage, FOLDER)
    commit(storage, make_row("c"), make_row("aa"))
    reference = write_manifest(storage, find_node(storage, "a", "b", "c", "d"))
    assert [note.key for note in read_first(storage, reference, Note, 2)] == ["b", "c"]
    assert read_first(storage, reference, Note, 9) == read_accepted(storage, reference, Note)


def test_accepted_rows_can_be_looked_at_while_the_stage_runs(storage: Storage) -> None:
    commit(storage, make_row("b"), reject_row("c"))
    compact_chunks(storage, FOLDER)
    commit(storage, make_row("a"))
    assert [note.key for note in read_part_rows(storage, FOLDER, Note)] == ["a", "b"]


@pytest.mark.parametrize(
    ("left", "right"), [(["ab", "c"], ["a", "bc"]), (["a"], ["a", ""]), (["a", "b"], ["b", "a"])]
)
def test_a_digest_tells_apart_which_field_a_text_stood_in(
    left: Sequence[str], right: Sequence[str]
) -> None:
    assert parents_digest(*left) != parents_digest(*right)


def test_the_detail_of_a_reject_is_bounded_and_holds_what_was_wrong_first() -> None:
    detail = reject_detail(Reject("not_json", "Expecting ','"), "raw " * 5000)
    assert detail.startswith("Expecting ','\n---\nraw raw")
    assert len(detail) == 4000
    assert reject_detail(Reject("empty", "nothing"), "") == "nothing"


def test_a_part_that_a_store_lists_late_is_waited_for(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = commit(storage, make_row("a")).path
    hidden = [True, True, False]
    slept: list[float] = []
    plain = Storage.list

    def list_late(store: Storage, folder: str, suffix: str = "") -> list[FileStat]:
        return [] if hidden and hidden.pop(0) else plain(store, folder, suffix)

    monkeypatch.setattr(Storage, "list", list_late)
    monkeypatch.setattr(row_store, "time", SimpleNamespace(monotonic=lambda: 0, sleep=slept.append))
    await_listed(storage, NODE.folder, [written])
    assert len(slept) == 2 and hidden == []


def test_a_part_that_is_never_listed_is_waited_for_a_while_only(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    monkeypatch.setattr(row_store, "time", fake)
    await_listed(storage, NODE.folder, [f"{NODE.folder}/part-c-gone.parquet"], timeout_s=5)
    assert next(clock) == 6


def test_a_stage_ends_with_all_its_parts_though_the_merged_one_is_listed_late(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        commit(storage, make_row(name))
    plain, late = Storage.list, [0]

    def list_late(store: Storage, folder: str, suffix: str = "") -> list[FileStat]:
        found = plain(store, folder, suffix)
        if any("/part-c-" not in stat.path for stat in found if "/part-" in stat.path):
            late[0] += 1
            if late[0] < 3:
                return [stat for stat in found if "/part-c-" in stat.path]
        return found

    monkeypatch.setattr(Storage, "list", list_late)
    (part,) = compact_chunks(storage, NODE.folder)
    assert part.rows == 2
