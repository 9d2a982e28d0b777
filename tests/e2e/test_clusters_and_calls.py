"""Runs the pipeline where it is called from Python, and where its Ray is a cluster that breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.hidden_folders import can_hide
from tests.e2e.prefect_homes import make_home
from tests.e2e.processes import await_no_leftovers, run_program, running_pids
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_python_calls_from_anywhere_twice_as_a_subflow_and_on_a_ray_that_was_there(
    tmp_path: Path,
) -> None:
    before = running_pids()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "store"
    own = {"PREFECT_HOME": str(make_home(tmp_path / "prefect"))}
    told = run_program("tests.e2e.from_python", str(root), own, elsewhere)
    assert told["cwd"] == str(elsewhere)
    for run in ("first", "again", "inside"):
        for name, counts in told[run]["counts"].items():
            assert counts["planned"] == counts["accepted"] + counts["rejected"], (run, name)
    assert told["first"]["engines_started"] == {"teacher": 1}
    assert told["again"]["engines_started"] == {}
    assert told["inside"]["counts"] == told["again"]["counts"] == told["first"]["counts"]
    assert told["ray_ended_after_own_runs"] and told["foreign_ray_kept"]
    assert Path(told["first"]["report"]).is_file()
    assert not list(elsewhere.iterdir())
    await_no_leftovers(before)


def test_gpus_that_ray_counts_are_left_alone_by_a_build_for_cpus(tmp_path: Path) -> None:
    before = running_pids()
    told = run_program("tests.e2e.counted_gpus", str(tmp_path), {}, Path(__file__).parents[2])
    assert told["counted"] == told["left_beside_an_engine"] == 2
    assert told["gpus"] == told["ranks_need"] == 0
    assert told["ranks"] == [["gloo", ""], ["gloo", ""]]
    assert told["checked"] == [0, 1]  # a Ray that runs already is looked at once it is joined
    assert told["window"] == 20, told["facts"]  # sixteen sequences and a quarter in the queue
    await_no_leftovers(before)


def test_a_cluster_of_three_nodes_loses_one_in_mid_stage_and_no_row(
    prefect_server: str, tmp_path: Path
) -> None:
    before = running_pids()
    world = ScriptedWorld.make(tmp_path / "world", personas=80)
    shared = {"PREFECT_API_URL": prefect_server}
    told = run_program(
        "tests.e2e.three_nodes", str(world.config), shared, Path(__file__).parents[2]
    )
    assert told["nodes"] == 3
    assert told["restarts"]
    for stage in ROW_STAGES:
        counts = told["result"]["counts"][stage]
        keys = read_parts(world.root, stage)["key"]
        assert keys.len() == keys.n_unique() == counts["planned"], stage
        assert counts["planned"] == counts["accepted"] + counts["rejected"], stage
    assert not list(world.root.glob(".probe-*"))  # its nodes were asked, and all was well
    await_no_leftovers(before)


@pytest.mark.skipif(not can_hide(), reason="needs the right to have mounts of its own")
def test_nodes_that_do_not_share_the_store_or_freeze_are_told(tmp_path: Path) -> None:
    before = running_pids()
    root = tmp_path / "store"
    told = run_program("tests.e2e.unlike_nodes", str(root), {}, Path(__file__).parents[2])

    ((where, what, todo),) = told["asked"]["problems"]
    assert where.startswith("storage.root on ") and told["apart"] in where
    assert told["still"] not in where and " and " not in where
    assert f"{root} lies on the driver's own disk" in what and "s3://" in todo

    assert told["sound"]["problems"] == []  # the others share it
    apart, frozen = sorted(told["frozen"]["problems"], key=lambda problem: problem[0], reverse=True)
    assert apart[:2] == [where, what]
    assert told["still"] in frozen[0] and frozen[1] == "did not answer within 10 s"
    assert told["frozen"]["seconds"] < 30
    assert told["logs"].pop(told["still"]) == "did not answer within 5 s"
    assert len(told["logs"]) == 2 and min(told["logs"].values()) > 0
    assert not told["mixed"], "the jobs of the run are known"
    assert told["left"] == []
    await_no_leftovers(before)
