"""Proves that nodes made again keep apart from what is there, and go on where they stopped."""

from __future__ import annotations

import polars as pl
import pytest

from infra.errors import StoreVersionError
from infra.generation.reruns import (
    Reruns,
    count_rounds,
    has_rejects,
    plan_round,
    read_reruns,
    refresh_node,
    retry_node,
    write_reruns,
)
from infra.store.manifests import Counts, Manifest, NodeSpec, write_manifest
from infra.store.row_store import (
    MadeRow,
    commit_chunk,
    compact_chunks,
    encode_rows,
    find_pending,
    read_committed,
    read_rows,
    take_planned,
    write_members,
)
from infra.store.storage import Storage
from tests.unit.infra.nodes import NODE, Note, make_manifest, make_plan, make_row, reject_row


def commit(storage: Storage, *rows: MadeRow) -> None:
    commit_chunk(storage, NODE.folder, encode_rows(Note, rows))


def finish(storage: Storage, node: NodeSpec, planned: pl.DataFrame) -> Manifest:
    parts, _ = take_planned(storage, compact_chunks(storage, node.folder), planned)
    path = f"{node.folder}/{node.fingerprint}.members.parquet"
    return make_manifest(parts, write_members(storage, path, planned), node)


def read_states(storage: Storage, manifest: Manifest) -> dict[str, str]:
    rows = read_rows(storage, manifest, ["status"])
    return dict(zip(rows["key"], rows["status"], strict=True))


def test_a_refreshed_node_is_another_recipe_and_says_so() -> None:
    once, twice = refresh_node(NODE, 1), refresh_node(NODE, 2)

    assert refresh_node(NODE, 0) is NODE
    assert len({node.recipe for node in (NODE, once, twice)}) == 3
    assert len({node.fingerprint for node in (NODE, once, twice)}) == 3
    assert once.identity == {**NODE.identity, "refresh": 1}
    assert refresh_node(NODE, 1) == once


def test_retrying_rejects_is_another_node_of_the_same_recipe() -> None:
    again = retry_node(NODE, 1)

    assert (retry_node(NODE, 0), count_rounds(NODE)) == (NODE, 0)
    assert again.recipe == NODE.recipe
    assert again.fingerprint not in (NODE.fingerprint, retry_node(NODE, 2).fingerprint)
    assert count_rounds(again) == 1


def test_only_rejected_rows_are_asked_again_and_keep_their_keys(storage: Storage) -> None:
    planned = make_plan("a", "b", "c")
    commit(storage, make_row("a"), reject_row("b"), make_row("c"))

    again = plan_round(planned, read_committed(storage, NODE.folder), 1)

    assert again["key"].to_list() == ["a", "b", "c"]
    assert again.columns == planned.columns
    assert find_pending(again, read_committed(storage, NODE.folder))["key"].to_list() == ["b"]


def test_old_and_new_node_each_read_their_own_answer_to_a_rejected_row(storage: Storage) -> None:
    planned = make_plan("a", "b")
    commit(storage, make_row("a"), reject_row("b"))
    before = finish(storage, NODE, planned)
    again = plan_round(planned, read_committed(storage, NODE.folder), 1)
    digest = again["parents_digest"].to_list()[1]
    commit(storage, make_row("b", digest, "at last"))

    after = finish(storage, retry_node(NODE, 1), again)

    assert read_states(storage, before) == {"a": "accepted", "b": "rejected"}
    assert read_states(storage, after) == {"a": "accepted", "b": "accepted"}
    assert read_states(storage, finish(storage, NODE, planned)) == read_states(storage, before)


def test_a_round_goes_on_where_it_stopped_and_the_next_takes_what_it_rejected(
    storage: Storage,
) -> None:
    planned = make_plan("a", "b", "c")
    commit(storage, reject_row("a"), reject_row("b"), make_row("c"))
    first = plan_round(planned, read_committed(storage, NODE.folder), 1)
    a, b = first["parents_digest"].to_list()[:2]
    commit(storage, reject_row("a", a))

    same = plan_round(planned, read_committed(storage, NODE.folder), 1)
    pending = find_pending(same, read_committed(storage, NODE.folder))
    assert same.equals(first)
    assert pending["key"].to_list() == ["b"]

    commit(storage, make_row("b", b))
    second = plan_round(first, read_committed(storage, NODE.folder), 2)
    pending = find_pending(second, read_committed(storage, NODE.folder))
    assert pending["key"].to_list() == ["a"]
    assert pending["parents_digest"].to_list() != [a]


def test_without_rejects_a_round_changes_nothing(storage: Storage) -> None:
    planned = make_plan("a")
    commit(storage, make_row("a"))

    assert plan_round(planned, read_committed(storage, NODE.folder), 1).equals(planned)


OTHER = NodeSpec.build("notes", 1, identity={"prompt": "q"}, selection={})


def test_what_is_made_again_is_kept_and_counts_up(storage: Storage) -> None:
    assert read_reruns(storage) == Reruns()
    made = Reruns().refresh(NODE).refresh(NODE).retry(NODE).open("refresh", NODE)
    write_reruns(storage, made)
    read = read_reruns(storage)
    assert read == made
    assert read.apply(NODE) == retry_node(refresh_node(NODE, 2), 1)
    assert read.apply(OTHER) is OTHER


def test_a_request_is_on_record_until_its_node_is_made() -> None:
    requests = Reruns().open("refresh", NODE).open("retry", NODE).open("refresh", OTHER)
    assert requests.is_open("refresh", NODE) and not requests.is_open("retry", OTHER)
    left = requests.close([NODE])
    assert not left.is_open("refresh", NODE) and not left.is_open("retry", NODE)
    assert left.is_open("refresh", OTHER)


@pytest.mark.parametrize(
    ("rejected", "by_row", "found"), [(0, True, False), (1, True, True), (1, False, False)]
)
def test_only_rejects_of_a_model_can_be_asked_again(
    storage: Storage, rejected: int, by_row: bool, found: bool
) -> None:
    assert not has_rejects(storage, NODE)
    planned = make_plan("a")
    commit(storage, reject_row("a") if rejected else make_row("a"))
    manifest = finish(storage, NODE, planned)
    counts = Counts(planned=1, accepted=1 - rejected, rejected=rejected, made=1, reused=0)
    members = manifest.members if by_row else None
    write_manifest(storage, manifest.model_copy(update={"counts": counts, "members": members}))
    assert has_rejects(storage, NODE) is found


def test_what_was_refreshed_is_never_guessed(storage: Storage) -> None:
    kept = Reruns({"notes p": 2}, {}, frozenset({"refresh notes"}))
    assert read_reruns(storage) == Reruns()
    write_reruns(storage, kept)
    assert read_reruns(storage) == kept
    whole = storage.read_bytes("remakes.json")
    for spoilt in (whole[:-9], b"", b"[]", b"{}", b'{"refresh": 1, "retry_rejects": {}}'):
        storage.write_bytes("remakes.json", spoilt)
        with pytest.raises(
            StoreVersionError, match=r"remakes\.json cannot be read .* move it away"
        ):
            read_reruns(storage)
