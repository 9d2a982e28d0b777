"""Proves that the count of thoughts outlives merges of parts, and costs nothing where none was."""

from __future__ import annotations

from dataclasses import replace

from infra.store.row_store import commit_chunk, compact_chunks, encode_rows
from infra.store.storage import Storage
from infra.store.thought_counts import ThoughtCount, describe_thoughts
from tests.unit.infra.nodes import NODE, Note, make_row


def commit(storage: Storage, *keys: str, tokens: int = 0) -> None:
    thoughts = ThoughtCount(1, tokens) if tokens else ThoughtCount()
    rows = [replace(make_row(key), thoughts=thoughts) for key in keys]
    commit_chunk(storage, NODE.folder, encode_rows(Note, rows))


def test_sums_over_chunks_stay_when_they_are_merged(storage: Storage) -> None:
    commit(storage, "a", "b", tokens=30)
    commit(storage, "c")
    first = compact_chunks(storage, NODE.folder)
    assert describe_thoughts(storage, first) == {"thoughts": {"rows": 2, "tokens": 60}}
    commit(storage, "d", tokens=5)
    both = compact_chunks(storage, NODE.folder)
    assert describe_thoughts(storage, both) == {"thoughts": {"rows": 3, "tokens": 65}}


def test_where_nobody_thought_nothing_is_said(storage: Storage) -> None:
    commit(storage, "a")
    commit(storage, "b")
    assert describe_thoughts(storage, compact_chunks(storage, NODE.folder)) == {}
