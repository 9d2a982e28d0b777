"""Runs row stages through a vendor's batch API, kills the run, and counts what is paid."""

from __future__ import annotations

import signal
from pathlib import Path

import polars as pl
import pytest

from infra.errors import RequestFailed
from tests.e2e.batch_vendor import BatchVendor, serve_batches
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld, read_parts
from tests.e2e.terminal import CTRL_C, Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PERSONAS = 12


def teacher(vendor: BatchVendor, *, batch: bool = True) -> str:
    knobs = "batch: {poll_seconds: 0.2, gather_seconds: 1, min_requests: 3}" if batch else ""
    return (
        f"models.teacher={{engine: endpoint, model: strict, base_url: '{vendor.address}', {knobs}}}"
    )


def read_all(world: ScriptedWorld) -> dict[str, pl.DataFrame]:
    return {stage: read_parts(world.root, stage).sort("key") for stage in ROW_STAGES}


def test_a_run_in_batches_makes_the_rows_of_a_live_run(
    tmp_path: Path, prefect_server: str, ray_cluster: None
) -> None:
    vendor = BatchVendor(endings=["expired"], failing=1)
    with serve_batches(vendor):
        batched = ScriptedWorld.make(tmp_path / "batched", personas=PERSONAS, questions=6)
        result = batched.run(teacher(vendor), until="dialogues")
        paid = len(vendor.live)
        live = ScriptedWorld.make(tmp_path / "live", personas=PERSONAS, questions=6)
        expected = live.run(teacher(vendor, batch=False), until="dialogues")
        lived = len(vendor.live) - paid
    assert result.counts == expected.counts
    assert all(one.planned == one.accepted + one.rejected for one in result.counts.values())
    rows, others = read_all(batched), read_all(live)
    for stage in ROW_STAGES:
        assert rows[stage].height == result.counts[stage].planned > 0
        assert rows[stage].equals(others[stage]), stage
    assert sum(vendor.answered.values()) > lived / 2 > paid, "most of it went through batches"
    first = next(iter(vendor.batches.values()))
    assert len(vendor.sent) > len(set(vendor.sent)), "what expired was sent again"
    kept = {line["custom_id"] for line in first.lines if vendor.answered[line["custom_id"]]}
    assert kept and max(vendor.answered.values()) <= 2
    assert sum(count > 1 for count in vendor.answered.values()) <= 1, "but for the lost shard's"


def test_a_budget_holds_before_a_batch_is_sent(
    tmp_path: Path, prefect_server: str, ray_cluster: None
) -> None:
    vendor = BatchVendor()
    world = ScriptedWorld.make(tmp_path, personas=PERSONAS, questions=6)
    with serve_batches(vendor):
        with pytest.raises(RequestFailed, match=r"the budget leaves .* tokens.*raise budget"):
            world.run(teacher(vendor), "budget.max_tokens=300", until="characters")
        assert not vendor.batches
        result = world.run(teacher(vendor), "budget.max_tokens=4000", until="characters")
    assert result.counts["characters"].planned == PERSONAS
    assert len(vendor.batches) > 1 and len(set(vendor.sent)) == len(vendor.sent)


def test_killed_and_stopped_while_a_batch_is_pending_a_run_pays_once(
    tmp_path: Path, prefect_server: str
) -> None:
    world = ScriptedWorld.make(tmp_path, personas=PERSONAS, questions=6)
    env = {"PREFECT_API_URL": prefect_server}
    before = running_pids()
    vendor = BatchVendor(held=True)
    with serve_batches(vendor):
        command = ["run", str(world.config), "--until", "characters", "--set", teacher(vendor)]

        def is_pending(looks: int) -> bool:
            return any(batch.looks >= looks for batch in list(vendor.batches.values()))

        code = run_until(command, env, lambda: is_pending(1), signal.SIGKILL)
        assert code == -signal.SIGKILL
        await_no_leftovers(before)
        sent, lived = vendor.sent, len(vendor.live)
        looks = max(batch.looks for batch in vendor.batches.values())

        terminal = Terminal(command, env)
        terminal.await_that(lambda: is_pending(looks + 3), 120)
        terminal.type(CTRL_C)
        assert terminal.wait(90) == 130
        assert "will be fetched by the next run" in " ".join(terminal.seen.split())
        await_no_leftovers(before)
        assert vendor.sent == sent

        vendor.held = False
        result = closing_line(run_command(command, env))
    assert result["counts"]["characters"]["planned"] == PERSONAS
    rows = read_parts(world.root, "characters")
    assert rows["key"].n_unique() == rows.height == PERSONAS
    assert len(vendor.sent) == len(set(vendor.sent)) and vendor.sent[: len(sent)] == sent
    assert max(vendor.answered.values()) == 1
    asked = [body["messages"][-1]["content"] for body in vendor.live]
    assert len(asked) >= lived
