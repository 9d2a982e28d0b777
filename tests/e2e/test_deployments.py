"""Operates the pipeline as a team does: a real server on a real PostgreSQL, a worker, the API."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.store.manifests import read_manifest
from infra.store.storage import Storage
from tests.e2e.prefect_world import Server, deploy, run_postgres, run_server, run_worker
from tests.e2e.processes import await_no_leftovers, count_parts, running_pids
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NODES = {"personas", "instructions", *ROW_STAGES, "curation", "export", "report"}
DEPLOYMENTS = {"pipeline", "synthesis", "training", "evaluation", "preview", "gate"}
TRAINED = (
    "models.base={model: configs/demo/base}",
    "curation={language: null, near_duplicate_similarity: null, validation_share: 0.2}",
    "training={deepspeed: ddp, workers: 1, epochs: 1, max_length: 512, max_examples: 16, "
    "global_batch: 4, learning_rate: 1.0e-3, precision: fp32, samples: {characters: 0}}",
)
EVERY_S = 40
TRAINING_S = 400.0
"""How long a run that trains may take on a machine that does other things as well."""
SLOW = "models.teacher.script={latency_s: 2.5}"
"""So that a cancellation, which a worker may hear of seconds later, finds rows still to be made."""


def test_runs_are_started_cancelled_resumed_and_cached_through_the_api(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path / "world", personas=48)
    home = tmp_path / "prefect"
    home.mkdir()
    form = {"recipe": {"config": str(world.config), "name": "weekly"}, "until": "report"}
    slow = {**form, "recipe": {**form["recipe"], "overrides": [SLOW]}}  # type: ignore[dict-item]

    with run_postgres() as postgres, run_server(postgres, home) as server:
        deploy(server)
        check_deployments(server)
        check_refusals(server)
        with run_worker(server, home):
            before = running_pids()
            kept = cancel_half_way(server, world, slow)
            await_no_leftovers(before)
            finish(server, world, form, kept)
            check_cached(server, world, form)
            shards = world.folder / "shards"
            shards.mkdir()
            world.write_personas("shards/first.jsonl", range(24))
            source = f"personas.source={shards}"
            ask_before_training(server, world, form, source)
            rerun_on_schedule(server, world, form, source)

        postgres.empty()
        deploy(server, "--name", "pipeline")
        assert server.find("/flow_runs/filter", {}) == []
        with run_worker(server, home):
            check_cached(server, world, form)


def check_deployments(server: Server) -> None:
    found = {item["name"]: item for item in server.find("/deployments/filter", {})}
    assert set(found) == DEPLOYMENTS
    for item in found.values():
        assert item["global_concurrency_limit"]["limit"] == 1
        assert item["concurrency_options"]["collision_strategy"] in ("ENQUEUE", "CANCEL_NEW")
        assert "opencharacter" in item["tags"] and item["description"]
    (weekly,) = found["pipeline"]["schedules"]
    assert weekly["active"] is False and weekly["schedule"]["cron"] == "0 3 * * 0"
    # Switched off, a schedule must not have planned runs.
    assert server.find("/flow_runs/filter", {}) == []


def check_refusals(server: Server) -> None:
    """The form's types hold for everybody who speaks to the API."""
    for wrong in (
        {"until": "tomorrow"},
        {"recipe": {"config": "configs/demo.yaml", "konfig": 1}},
        {"recipe": {"overrides": ["no equals sign"]}},
    ):
        answer = server.start("pipeline", wrong)
        assert answer.status_code in (400, 409, 422), answer.text
    assert server.find("/flow_runs/filter", {}) == []


def start(server: Server, form: dict[str, Any]) -> str:
    answer = server.start("pipeline", form).raise_for_status().json()
    return str(answer["id"])


def cancel_half_way(server: Server, world: ScriptedWorld, form: dict[str, Any]) -> set[str]:
    """Cancel a slow run in the middle of the characters; return the keys it had committed."""
    run = start(server, form)
    deadline = time.monotonic() + 180
    while count_parts(world.root, "characters") < 3:
        found = server.get(f"/flow_runs/{run}")
        assert found["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"), server.read_log(run)
        assert time.monotonic() < deadline, server.read_log(run)
        time.sleep(0.1)
    server.cancel(run)
    ended = server.await_end(run, 60)
    assert ended["state_type"] == "CANCELLED", server.read_log(run)
    assert ended["name"] == "weekly: pipeline to report"
    assert not list((world.root / "characters").glob("*/*.json")), "it was done already"
    keys = read_parts(world.root, "characters")["key"]
    assert 12 <= keys.len() < 48
    return set(keys)


def finish(server: Server, world: ScriptedWorld, form: dict[str, Any], kept: set[str]) -> None:
    """Let the next run make the rest, and nothing of what is there again."""
    run = start(server, form)
    ended = server.await_end(run, 120)
    assert ended["state_type"] == "COMPLETED", server.read_log(run)
    summary = json.loads((world.root / "runs" / "weekly" / "summary.json").read_text())
    for stage in ROW_STAGES:
        keys = read_parts(world.root, stage)["key"]
        assert keys.len() == keys.n_unique() == summary["counts"][stage]["planned"], stage
    assert kept <= set(read_parts(world.root, "characters")["key"])
    made = world.manifest("characters").counts
    assert (made.made, made.reused) == (48 - len(kept), len(kept))
    states = server.await_states(run)
    assert set(states) == NODES
    cached = {name for name, state in states.items() if state == "Cached"}
    assert cached <= {"personas", "instructions", "guesses"}, (
        "these were done when it was cancelled"
    )


def check_cached(server: Server, world: ScriptedWorld, form: dict[str, Any]) -> None:
    """Run once more: every node is Cached, and no engine starts."""
    run = start(server, form)
    ended = server.await_end(run, 90)
    assert ended["state_type"] == "COMPLETED", server.read_log(run)
    assert server.await_states(run) == dict.fromkeys(NODES, "Cached")
    summary = json.loads((world.root / "runs" / "weekly" / "summary.json").read_text())
    assert summary["engines_started"] == {}


def train(form: dict[str, Any], *more: str) -> dict[str, Any]:
    """Let a form's run train as well, on a few rows."""
    return {**form, "recipe": {**form["recipe"], "overrides": [*TRAINED, *more]}}


def ask_before_training(
    server: Server, world: ScriptedWorld, form: dict[str, Any], source: str
) -> None:
    """Pause before training with the plan and rows in a form; a no ends the run, a yes trains."""
    asking = train(form, source, "run.approve_before_training=true")
    for go_on, state in ((False, "FAILED"), (True, "COMPLETED")):
        run = start(server, asking)
        paused = server.await_state(run, "PAUSED", 120)
        keys = paused["state"]["state_details"]["run_input_keyset"]
        shown = server.await_input(run, keys["description"])
        assert "Train on these rows?" in shown and "to make" in shown and "| user |" in shown
        assert not list(world.root.glob("training/*/*.json"))
        answer = {"run_input": {"go_on": go_on, "by": "Ada"}}
        server.post(f"/flow_runs/{run}/resume", answer).raise_for_status()
        ended = server.await_end(run, TRAINING_S)
        assert ended["state_type"] == state, server.read_log(run)
        server.await_log(run, "by Ada")
    assert list(world.root.glob("training/*/*.json"))


def rerun_on_schedule(
    server: Server, world: ScriptedWorld, form: dict[str, Any], source: str
) -> None:
    """Let a schedule fire twice; what lands in the source folder in between is what is made."""
    known = {item["id"] for item in server.find("/flow_runs/filter", {})}
    timetable = {
        "active": True,
        "schedule": {
            "interval": EVERY_S,
            "anchor_date": (datetime.now(UTC) + timedelta(seconds=4)).isoformat(),
        },
        "parameters": {**form, "recipe": {**form["recipe"], "overrides": [source]}},
        "max_scheduled_runs": 2,
    }
    pipeline = server.get("/deployments/name/pipeline/pipeline")["id"]
    schedules = f"/deployments/{pipeline}/schedules"
    (made,) = server.post(schedules, [timetable]).raise_for_status().json()

    first = await_start(server, known)
    await_node(server, first, "personas")
    characters = world.graph(source)["characters"].spec
    world.write_personas("shards/second.jsonl", range(60, 70))
    await_completed(server, first)
    before = read_manifest(Storage(str(world.root)), characters.manifest_path)
    second = await_start(server, known | {first})
    server.delete(f"{schedules}/{made['id']}")
    await_completed(server, second)

    after = world.manifest("characters", source)
    assert before.counts.planned == 24
    assert (after.counts.made, after.counts.reused) == (10, 24)
    states = server.await_states(second)
    remade = {name for name, state in states.items() if state == "Completed"}
    assert {"personas", "characters", "curation", "report"} <= remade
    assert states["instructions"] == "Cached"
    keys = read_parts(world.root, "dialogues_generate")["key"]
    assert keys.len() == keys.n_unique()


def await_start(server: Server, known: set[str]) -> str:
    """Wait until a schedule has started a run that is not known."""
    deadline = time.monotonic() + EVERY_S + 200
    while True:
        for run in server.find("/flow_runs/filter", {}):
            if run["id"] not in known and run["state_type"] not in ("SCHEDULED", "PENDING"):
                assert run["auto_scheduled"]
                return str(run["id"])
        assert time.monotonic() < deadline, "the schedule does not fire"
        time.sleep(0.5)


def await_node(server: Server, run: str, node: str) -> None:
    """Wait until a node of a run is done."""
    deadline = time.monotonic() + 100
    while server.read_states(run).get(node) not in ("Completed", "Cached"):
        assert time.monotonic() < deadline, server.read_log(run)
        time.sleep(0.5)


def await_completed(server: Server, run: str) -> None:
    """Wait until a run has completed."""
    ended = server.await_end(run, TRAINING_S)
    assert ended["state_type"] == "COMPLETED", server.read_log(run)
