"""Stops real runs of the command line in order, and gives it what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.prefect_homes import make_home
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    count_parts,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.scripted import ScriptedWorld, read_parts
from tests.e2e.terminal import CTRL_C, Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_ctrl_c_and_sigterm_commit_what_is_finished_and_say_how_to_go_on(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path, personas=200)
    env = {"PREFECT_HOME": str(make_home(tmp_path / "prefect"))}
    slow = ["run", str(world.config), "--set", "models.teacher.script={latency_s: 0.2}"]
    before = running_pids()
    terminal = Terminal(slow, env)
    terminal.await_that(lambda: count_parts(world.root, "characters") >= 2, 120)
    terminal.type(CTRL_C)
    assert terminal.wait(90) == 130
    assert "SIGINT: committing what is finished" in terminal.seen
    assert "Run the same command again" in terminal.seen
    await_no_leftovers(before)
    committed = read_parts(world.root, "characters").height
    assert 8 <= committed < 120

    # As a scheduler ends a job: Prefect and Ray have an answer of their own to that signal.
    parts = count_parts(world.root, "characters")
    log = tmp_path / "ended.log"

    def goes_on() -> bool:
        return count_parts(world.root, "characters") > parts

    assert run_until(slow, env, goes_on, signal.SIGTERM, log=log) == 130, log.read_text()
    told = log.read_text()
    assert "SIGTERM: committing what is finished, then stopping" in told
    assert "Run the same command again" in told and "died" not in told
    assert "received at time" not in told, "Ray takes the signal"
    await_no_leftovers(before)
    kept, committed = committed, read_parts(world.root, "characters").height
    assert kept < committed < 200

    again = run_command(["run", str(world.config), "--until", "characters"], env)
    assert closing_line(again)["counts"]["characters"]["planned"] == 200
    assert f"{committed} reused" in again.stderr


def test_wrong_usage_and_config_exit_with_2(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path)
    wrong = run_command(["run", str(world.config), "--set", "personas.langauge=en"], {})
    assert wrong.returncode == 2
    assert "did you mean language?" in wrong.stderr
    assert run_command(["run", "nowhere.yaml"], {}).returncode == 2
