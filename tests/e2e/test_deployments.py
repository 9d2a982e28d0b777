"""Operates the pipeline as a team does: a real server on a real PostgreSQL, a worker, the API."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.prefect_world import Server, run_postgres, run_server, run_worker
from tests.e2e.processes import await_no_leftovers, count_parts, running_pids
from tests.e2e.scripted import ScriptedWorld, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROW_STAGES = ("guesses", "characters", "dialogues_generate", "dialogues_rewrite")
NODES = {"personas", "instructions", *ROW_STAGES, "curation", "export", "report"}
DEPLOYMENTS = {"pipeline", "synthesis", "training", "evaluation", "preview"}
SLOW = "models.teacher.script={latency_s: 0.4}"


def test_runs_are_started_cancelled_resumed_and_cached_through_the_api(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path / "world", personas=48)
    home = tmp_path / "prefect"
    home.mkdir()
    form = {"recipe": {"config": str(world.config), "name": "weekly"}, "until": "report"}
    slow = {**form, "recipe": {**form["recipe"], "overrides": [SLOW]}}  # type: ignore[dict-item]

    with run_postgres() as postgres:
        with run_server(postgres, home) as server:
            deploy(server)
            check_deployments(server)
            check_refusals(server)
            with run_worker(server, home):
                before = running_pids()
                kept = cancel_half_way(server, world, slow)
                await_no_leftovers(before)
                finish(server, world, form, kept)
                check_cached(server, world, form)

        postgres.empty()
        with run_server(postgres, home) as server:
            deploy(server, "--name", "pipeline")
            assert server.find("/flow_runs/filter", {}) == []
            with run_worker(server, home):
                check_cached(server, world, form)


def deploy(server: Server, *chosen: str) -> None:
    server.call("work-pool", "create", "opencharacter", "--type", "process", "--overwrite")
    which = chosen or ("--all",)
    server.call("deploy", *which, "--prefect-file", "infra/prefect/prefect.yaml")


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
    deadline = time.monotonic() + 90
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
    states = server.read_states(run)
    assert set(states) == NODES
    assert "Cached" not in states.values()


def check_cached(server: Server, world: ScriptedWorld, form: dict[str, Any]) -> None:
    """Run once more: every node is Cached, and no engine starts."""
    run = start(server, form)
    ended = server.await_end(run, 90)
    assert ended["state_type"] == "COMPLETED", server.read_log(run)
    assert {name: state for name, state in server.read_states(run).items()} == dict.fromkeys(
        NODES, "Cached"
    )
    summary = json.loads((world.root / "runs" / "weekly" / "summary.json").read_text())
    assert summary["engines_started"] == {}
