"""Verifies and cleans stores of several runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.runs.history import NodeMark, RunRecord
from flows.runs.store_care import (
    choose_root,
    clean_store,
    print_cleaning,
    print_size,
    print_verdict,
    verify_store,
)
from infra.errors import ConfigError, RootBusy
from infra.locking.root_lock import hold_root
from infra.store.manifests import NodeSpec, open_store, read_manifest, refer_to
from infra.store.storage import Storage
from tasks.records import Character, Persona
from tests.unit.flows.evaluated import (
    BAKER,
    make_character,
    name_node,
    write_rows,
    write_run,
    write_whole,
)
from tests.unit.flows.worlds import make_config, write_config

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "store"))
    open_store(storage)
    return storage


def make_run(
    storage: Storage, run: str, prompt: str, day: int, *, began: datetime | None = None
) -> list[NodeSpec]:
    """Make two nodes whose recipe follows from the prompt, and note a start that planned them."""
    personas = name_node("personas")
    characters = name_node("characters", personas, identity={"prompt": prompt})
    write_whole(storage, personas, Persona, [BAKER])
    row = make_character(characters.recipe, BAKER, "Ada")
    write_rows(storage, characters, Character, [row])
    nodes = [personas, characters]
    note(storage, run, nodes, began or LONG_AGO + timedelta(days=day))
    return nodes


def note(storage: Storage, run: str, nodes: Sequence[NodeSpec], began: datetime) -> None:
    record = RunRecord(
        run=run,
        id=f"{began:%Y%m%dT%H%M%S%f}",
        began=began.isoformat(),
        host="elsewhere",
        nodes=tuple(
            NodeMark(stage=node.stage, recipe=node.recipe, fingerprint=node.fingerprint)
            for node in nodes
        ),
    )
    storage.write_bytes(record.path, record.model_dump_json().encode())


def is_there(storage: Storage, node: NodeSpec) -> bool:
    return storage.stat(node.manifest_path) is not None


def test_the_latest_runs_of_each_name_stay(storage: Storage) -> None:
    runs = [make_run(storage, "weekly", f"prompt {day}", day)[1] for day in range(4)]
    other = make_run(storage, "rare", "rare prompt", 0)[1]

    clean_store(storage.root, 2, dry_run=False)

    assert [is_there(storage, node) for node in (*runs, other)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert verify_store(storage.root, lambda _: None).sound


def test_starts_that_planned_the_same_count_as_one_run(storage: Storage) -> None:
    older = make_run(storage, "weekly", "older", 0)[1]
    for day in range(1, 4):
        newest = make_run(storage, "weekly", "newest", day)[1]

    clean_store(storage.root, 2, dry_run=False)

    assert is_there(storage, older) and is_there(storage, newest)


def test_a_dry_run_tells_the_bytes_and_removes_nothing(storage: Storage) -> None:
    old = make_run(storage, "weekly", "old", 0)[1]
    make_run(storage, "weekly", "new", 1)
    before = {path: storage.stat(path) for path in storage.walk("")}

    cleaning = clean_store(storage.root, 1, dry_run=True)

    assert {path: storage.stat(path) for path in storage.walk("")} == before
    there = sum(stat.size for path, stat in before.items() if stat and path.startswith(old.folder))
    assert cleaning.size == there > 0
    assert cleaning.size + cleaning.left == sum(stat.size for stat in before.values() if stat)
    assert "would remove 3 files" in print_cleaning(cleaning)

    assert clean_store(storage.root, 1, dry_run=False).size == cleaning.size
    assert clean_store(storage.root, 1, dry_run=False).files == 0


def test_what_a_finished_run_shows_stays_though_later_starts_failed(storage: Storage) -> None:
    nodes = make_run(storage, "weekly", "finished", 0)
    write_run(
        storage,
        "weekly",
        [refer_to(read_manifest(storage, node.manifest_path)) for node in nodes],
    )
    for day in (1, 2):
        note(storage, "weekly", [name_node("characters", identity={"prompt": day})],
             LONG_AGO + timedelta(days=day))  # fmt: skip

    clean_store(storage.root, 1, dry_run=False)

    assert is_there(storage, nodes[1])


def test_a_run_that_may_be_at_work_is_not_touched(storage: Storage) -> None:
    now = datetime.now(UTC)
    running = make_run(storage, "weekly", "running", 0, began=now - timedelta(hours=2))[1]
    make_run(storage, "weekly", "new", 0, began=now - timedelta(hours=1))
    temporary = f"{running.folder}/.x.parquet.{'0a' * 16}.tmp"
    storage.write_bytes(temporary, b"half")

    cleaning = clean_store(storage.root, 1, dry_run=False)

    assert is_there(storage, running) and storage.stat(temporary) is not None
    assert len(cleaning.running) == 2
    assert "may be running, untouched: weekly@" in print_cleaning(cleaning)


def test_nothing_is_removed_beside_a_run_that_holds_the_root(storage: Storage) -> None:
    old = make_run(storage, "weekly", "old", 0)[1]
    make_run(storage, "weekly", "new", 1)
    run = Storage(storage.root)
    with hold_root(run, "run weekly", "wait", note=print, stop=threading.Event()):
        assert clean_store(storage.root, 1, dry_run=True).files == 3
        with pytest.raises(RootBusy, match="held by run weekly"):
            clean_store(storage.root, 1, dry_run=False)
        assert is_there(storage, old)
    assert clean_store(storage.root, 1, dry_run=False).files == 3


def test_cleaning_refuses_to_remove_everything(storage: Storage, tmp_path: Path) -> None:
    write_whole(storage, name_node("personas"), Persona, [BAKER])

    with pytest.raises(ConfigError, match="no run is on record there"):
        clean_store(storage.root, 1, dry_run=False)
    with pytest.raises(ConfigError, match="keep at least 1"):
        clean_store(storage.root, 0, dry_run=False)
    with pytest.raises(ConfigError, match="there is no such folder"):
        clean_store(str(tmp_path / "elsewhere"), 1, dry_run=True)


def test_a_finished_run_whose_node_is_gone_is_unsound(storage: Storage) -> None:
    nodes = make_run(storage, "weekly", "p", 0)
    references = [refer_to(read_manifest(storage, node.manifest_path)) for node in nodes]
    write_run(storage, "weekly", references)
    assert verify_store(storage.root, lambda _: None).sound

    storage.remove(nodes[1].manifest_path)
    verdict = verify_store(storage.root, lambda _: None)

    assert not verdict.sound
    assert [(fault.path, fault.what) for fault in verdict.faults] == [
        (nodes[1].manifest_path, "is gone; the finished run weekly names it")
    ]
    text = print_verdict(verdict)
    assert text.startswith("1 faults: ") and nodes[1].manifest_path in text


def test_the_root_comes_from_the_option_or_the_configuration(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, make_config(tmp_path)))

    assert choose_root(None, "s3://bucket/x") == "s3://bucket/x"
    assert choose_root(config, None) == str(tmp_path / "store")
    assert choose_root(config, None, ["storage.root=other"]) == "other"
    with pytest.raises(ConfigError, match="give a CONFIG, or --root"):
        choose_root(None, None)


@pytest.mark.parametrize(
    ("size", "text"),
    [(1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**50, "1024.0 TiB")],
)  # fmt: skip
def test_sizes_are_read_by_people(size: int, text: str) -> None:
    assert print_size(size) == text
