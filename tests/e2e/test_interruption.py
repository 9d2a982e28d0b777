"""Kills and stops real runs of the command line, and checks that nothing is lost or doubled."""

from __future__ import annotations

import signal
from pathlib import Path

import polars as pl
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
from tests.e2e.scripted import LEDGER, ROW_STAGES, ScriptedWorld, read_parts
from tests.e2e.terminal import CTRL_C, Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

WINDOW, CHUNK = 8, 4


def test_killed_at_any_moment_a_run_goes_on_where_it_stopped(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path, personas=60, questions=40)
    ledger = tmp_path / "ledger"
    env = {LEDGER: str(ledger), "PREFECT_API_URL": prefect_server}
    script = "models.teacher.script={latency_s: 0.25, respond: tests.e2e.scripted.respond_and_log}"
    command = ["run", str(world.config), "--set", script]
    moments = (("characters", 3), ("dialogues_generate", 9))
    before = running_pids()
    kept: dict[str, pl.DataFrame] = {}
    for stage, parts in moments:
        code = run_until(
            command,
            env,
            lambda stage=stage, parts=parts: count_parts(world.root, stage) >= parts,  # type: ignore[misc]
            signal.SIGKILL,
        )
        assert code == -signal.SIGKILL
        await_no_leftovers(before)
        assert not list((world.root / stage).glob("*/*.json")), f"{stage} was done already"
        for name in ROW_STAGES:
            if (world.root / name).is_dir():
                rows = read_parts(world.root, name)
                if name in kept:
                    assert rows.join(kept[name], on=kept[name].columns, how="semi").height == len(
                        kept[name]
                    )
                kept[name] = rows

    result = closing_line(run_command(command, env))
    for name in ROW_STAGES:
        rows = read_parts(world.root, name)
        counts = result["counts"][name]
        assert rows["key"].n_unique() == rows.height == counts["planned"]
        assert counts["accepted"] + counts["rejected"] == counts["planned"]
        unchanged = rows.sort("key").join(kept[name], on="key", how="semi")
        assert unchanged.equals(kept[name].sort("key")), name
    asked = ledger.read_text().splitlines()
    twice = len(asked) - len(set(asked))
    open_stages = 2  # characters and guesses, then both strategies, run side by side
    assert twice <= len(moments) * open_stages * (WINDOW + 2 * CHUNK)


def test_ctrl_c_commits_what_is_finished_and_says_how_to_go_on(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path, personas=60)
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
    assert 8 <= committed < 60
    again = run_command(["run", str(world.config), "--until", "characters"], env)
    assert closing_line(again)["counts"]["characters"]["planned"] == 60
    assert f"{committed} reused" in again.stderr


def test_wrong_usage_and_config_exit_with_2(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path)
    wrong = run_command(["run", str(world.config), "--set", "personas.langauge=en"], {})
    assert wrong.returncode == 2
    assert "did you mean language?" in wrong.stderr
    assert run_command(["run", "nowhere.yaml"], {}).returncode == 2
