"""Lists runs and tells where they stand from what lies in a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from flows.runs.history import NodeMark, RunEnd, RunRecord
from flows.runs.listing import (
    NodeStatus,
    find_status,
    list_runs,
    print_runs,
    print_status,
)
from infra.store.manifests import NodeSpec, read_manifest
from infra.store.row_store import Envelope, MadeRow, commit_chunk, encode_rows, write_members
from infra.store.storage import Storage
from tasks.records import Character
from tests.unit.flows.evaluated import BAKER, World, make_character, name_node, write_run

CAST = name_node("characters", identity={"prompt": "new"})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


def note(
    storage: Storage, start: str, nodes: Iterable[NodeSpec | NodeMark], end: RunEnd | None = None
) -> RunRecord:
    record = RunRecord(
        run="demo",
        id=start,
        began="2020-01-01T10:00:00+00:00",
        host="elsewhere",
        nodes=tuple(
            NodeMark(stage=node.stage, recipe=node.recipe, fingerprint=node.fingerprint)
            for node in nodes
        ),
        end=end,
    )
    storage.write_bytes(record.path, record.model_dump_json().encode())
    return record


def list_marks(world: World) -> list[NodeMark]:
    manifests = [
        read_manifest(world.storage, reference.manifest) for reference in world.done.values()
    ]
    return [
        NodeMark(stage=item.stage, recipe=item.recipe, fingerprint=item.fingerprint)
        for item in manifests
    ]


def commit_two(storage: Storage) -> None:
    """Commit an accepted and a rejected row of an unfinished stage."""
    character = make_character(CAST.recipe, BAKER, "Ada")
    made = [
        MadeRow(Envelope(character.key, "d", "accepted", "", "", 1, 1, 0, 0, 0), character),
        MadeRow(Envelope("lost", "d", "rejected", "empty", "", 3, 3, 0, 0, 0), None),
    ]
    commit_chunk(storage, CAST.folder, encode_rows(Character, made))


def find_node(storage: Storage, node: str) -> NodeStatus:
    nodes = {item.node: item for item in find_status(storage, "demo").nodes}
    return nodes[node]


def test_a_died_run_shows_what_is_committed_of_what_was_planned(storage: Storage) -> None:
    world = World(storage)
    commit_two(storage)
    keys = [make_character(CAST.recipe, BAKER, "Ada").key, "lost", "still to do"]
    planned = pl.DataFrame({"key": keys, "parents_digest": ["d"] * 3})
    write_members(storage, f"{CAST.folder}/{CAST.fingerprint}.members.parquet", planned)
    personas = next(mark for mark in list_marks(world) if mark.stage == "personas")
    note(storage, "1", [personas, CAST, name_node("report")])

    status = find_status(storage, "demo")

    assert [(node.node, node.state) for node in status.nodes] == [
        ("personas", "done"), ("characters", "begun"), ("report", "not begun"),
    ]  # fmt: skip
    begun = find_node(storage, "characters")
    assert (begun.committed, begun.planned, begun.rejected) == (2, 3, 1)
    assert begun.at.startswith("20")
    assert status.state == "died"
    assert "goes on where it stopped" in status.todo and "characters next" in status.todo
    assert "2/3" in print_status(status)


def test_rows_are_counted_before_the_node_has_said_what_it_plans(storage: Storage) -> None:
    commit_two(storage)
    note(storage, "1", [CAST])

    begun = find_node(storage, "characters")

    assert (begun.committed, begun.planned) == (2, None)
    assert "whichever run made them" in begun.note
    assert "2/?" in print_status(find_status(storage, "demo"))


def test_a_training_tells_its_last_whole_checkpoint(storage: Storage) -> None:
    node = name_node("training")
    base = f"{node.folder}/{node.fingerprint}.checkpoints"
    for step in (50, 100):
        storage.write_bytes(f"{base}/step-{step:08d}/whole.json", b"{}")
    storage.write_bytes(f"{base}/step-00000150/model.pt", b"half")
    note(storage, "1", [node])

    assert find_node(storage, "training").note == "checkpoint at step 100"


def test_a_part_that_is_merged_while_it_is_looked_at_is_read_in_the_other(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_two(storage)
    note(storage, "1", [CAST])
    read, gone = Storage.read_bytes, iter([True])

    def vanish(self: Storage, path: str) -> bytes:
        if path.endswith(".parquet") and next(gone, False):
            raise FileNotFoundError(path)
        return read(self, path)

    monkeypatch.setattr(Storage, "read_bytes", vanish)

    assert find_node(storage, "characters").committed == 2


def test_a_finished_run_whose_nodes_went_says_so(storage: Storage) -> None:
    end = RunEnd(at="2020-01-01T10:01:05+00:00", outcome="finished")
    note(storage, "1", [CAST], end)

    status = find_status(storage, "demo")

    assert status.state == "finished"
    assert status.todo.startswith("It finished, but characters went since")


def test_runs_are_listed_with_time_state_rows_and_scores(storage: Storage) -> None:
    world = World(storage)
    done = list_marks(world)
    scores = {"persona_score_tuned": 3.5, "persona_score_tuned_gain": 1.0}
    end = RunEnd(
        at="2020-01-01T10:01:05+00:00", outcome="finished", accepted=9, rejected=1, scores=scores
    )
    note(storage, "1", done, end)
    note(storage, "2", [*done, CAST])
    write_run(storage, "older", world.done.values())

    lines = {f"{line.run}@{line.id}": line for line in list_runs(storage.root).runs}

    assert list(lines) == ["demo@2", "demo@1", "older@summary"]
    first, second = lines["demo@1"], lines["demo@2"]
    assert (first.state, first.seconds, first.accepted, first.rejected) == ("finished", 65, 9, 1)
    assert (second.state, second.done, second.nodes) == ("died", len(done), len(done) + 1)
    assert second.accepted == sum(reference.accepted for reference in world.done.values())
    text = print_runs(list_runs(storage.root))
    assert "persona_score_tuned 3.5" in text and "gain" not in text
    assert "0:01:05" in text


def test_an_empty_store_says_that_nothing_ran(storage: Storage) -> None:
    assert print_runs(list_runs(storage.root)).startswith("nothing ran in")
