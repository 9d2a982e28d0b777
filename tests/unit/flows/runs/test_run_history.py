"""Notes starts and ends of runs and reads them back, also where a run died."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.recipe.settings import Settings, load_settings
from flows.runs.history import (
    RunRecord,
    find_record,
    list_starts,
    may_run,
    note_end,
    note_start,
    read_finished,
    read_records,
    record_run,
    tell_state,
)
from infra.errors import ConfigError, InterruptedRun, YieldError
from infra.store.manifests import NodeSpec, read_manifest
from infra.store.storage import Storage
from tests.unit.flows.evaluated import World, name_node, write_run
from tests.unit.flows.worlds import make_config, write_config

HERE = platform.node()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(write_config(tmp_path, make_config(tmp_path)))


def make_nodes() -> list[NodeSpec]:
    stages = ("personas", "guesses", "dialogues_generate", "training", "answers_base", "report")
    return [name_node(stage) for stage in stages]


def make_record(began: datetime, *, host: str = HERE, pid: int = 0) -> RunRecord:
    return RunRecord(run="demo", id="x", began=began.isoformat(), host=host, pid=pid)


def test_a_start_is_on_disk_before_anything_runs_and_tells_what_was_planned(
    storage: Storage, settings: Settings
) -> None:
    nodes = make_nodes()
    record = note_start(storage, settings, nodes, provenance={"python": "3.11"})

    found = find_record(storage, "small", "RUN")

    assert found == record
    assert [mark.stage for mark in found.nodes] == [node.stage for node in nodes]
    assert found.nodes[0].manifest == nodes[0].manifest_path
    assert "characters_per_question: 1" in found.config
    assert (found.host, found.pid, found.end) == (HERE, os.getpid(), None)
    assert tell_state(found) == "running"


def test_an_end_adds_up_the_nodes_and_keeps_the_scores(
    storage: Storage, settings: Settings
) -> None:
    world = World(storage)
    manifests = [read_manifest(storage, reference.manifest) for reference in world.done.values()]
    record = note_start(storage, settings, [], provenance={})

    note_end(storage, record, "finished", manifests=manifests, scores={"gain": 0.5})

    end = find_record(storage, "small", "RUN").end
    assert end is not None
    assert end.accepted == sum(reference.accepted for reference in world.done.values())
    assert end.rejected == sum(reference.rejected for reference in world.done.values()) > 0
    assert end.scores == {"gain": 0.5}


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (YieldError("too few rows\nmore"), "failed", "too few rows"),
        (InterruptedRun("stopped in dialogues"), "interrupted", "stopped in dialogues"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_raises_is_noted_with_the_reason_and_raises_on(
    storage: Storage,
    settings: Settings,
    error: BaseException,
    outcome: str,
    message: str,
) -> None:
    with (
        pytest.raises(type(error)),
        record_run(storage, settings, make_nodes(), provenance={}),
    ):
        raise error

    end = find_record(storage, "small", "RUN").end
    assert end is not None
    assert (end.outcome, end.message) == (outcome, message)


def test_every_start_is_kept_and_the_latest_comes_first(
    storage: Storage, settings: Settings
) -> None:
    records = [note_start(storage, settings, [], provenance={}) for _ in range(3)]
    # Starts within a millisecond have no order.
    ids = sorted((record.id for record in records), reverse=True)

    assert [start for _, start in list_starts(storage)] == ids
    assert [record.id for record in read_records(storage, 2)] == ids[:2]
    assert find_record(storage, f"small@{ids[2]}", "RUN").id == ids[2]


def test_a_run_of_which_only_a_summary_tells_counts_as_finished(storage: Storage) -> None:
    world = World(storage)
    write_run(storage, "older", world.done.values(), {"teacher": "llama"})

    record = find_record(storage, "older", "RUN")

    assert record == read_finished(storage, "older")
    assert tell_state(record) == "finished"
    assert {mark.stage: mark.manifest for mark in record.nodes} == {
        stage: reference.manifest for stage, reference in world.done.items()
    }
    assert "llama" in record.config


def test_an_unknown_run_names_those_there_are(storage: Storage) -> None:
    write_run(storage, "older", [])
    with pytest.raises(ConfigError, match=r"RUN new: no run new in .* → runs there: older"):
        find_record(storage, "new", "RUN new")
    with pytest.raises(ConfigError, match="no run older@2031"):
        find_record(storage, "older@2031", "RUN")


def test_a_dead_process_of_this_host_died_and_a_strange_one_is_believed_for_a_day() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    now = datetime.now(UTC)

    assert tell_state(make_record(now, pid=process.pid)) == "died"
    assert tell_state(make_record(now, host="elsewhere")) == "running"
    assert tell_state(make_record(now - timedelta(days=2), host="elsewhere")) == "died"


def test_a_process_that_began_after_the_run_only_has_its_number() -> None:
    earlier = datetime.now(UTC) - timedelta(days=3)
    assert tell_state(make_record(earlier, pid=os.getpid())) == "died"


def test_when_in_doubt_a_run_may_be_at_work() -> None:
    now = datetime.now(UTC)
    assert may_run(make_record(now, pid=0)), "dead, but what if the host's name is not its own"
    assert not may_run(make_record(now - timedelta(days=2), pid=0))
