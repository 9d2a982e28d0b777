"""Runs the demo where all that computes is on another machine than the driver."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

import pytest

from tests.e2e.hidden_folders import can_hide
from tests.e2e.prefect_homes import make_home
from tests.e2e.processes import await_no_leftovers, run_program, running_pids
from tests.e2e.second_machine import find_hindrance, make_first_machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DEMO = "configs/demo.yaml"
ON_S3 = [
    "storage.root=s3://demo/store",
    "models.teacher.model=s3://demo/models/teacher",
    "models.base.model=s3://demo/models/base/",
    *("personas.sample=24", "instructions.limit=12", "instructions.synthesis.count=0"),
    *("training.epochs=3", "training.max_examples=48", "training.samples.characters=0"),
    "training.workers=2",
    *("evaluation.questions={suite: held_out, personas: 2}", "evaluation.judges=[]"),
    "evaluation.attribution.max_examples=4",
]


def test_a_machine_that_shares_nothing_refuses_a_local_root_and_runs_the_demo_from_s3(
    tmp_path: Path,
) -> None:
    apart = not find_hindrance()
    has_own_disk = apart or can_hide()
    local = tmp_path / "local"
    shutil.copytree("configs/demo/teacher", local / "teacher")
    refused = [
        *(f"storage.root={local}", f"models.teacher.model={local / 'teacher'}"),
        *("training=null", "evaluation=null"),
    ]
    given = {
        "config": DEMO,
        "overrides": ON_S3,
        "refused": refused if has_own_disk else [],
        "models": {role: f"configs/demo/{role}" for role in ("teacher", "base")},
        "folder": str(tmp_path / "second"),
        "hidden": str(local),
        "separate": apart,
    }
    environment = {
        "PREFECT_HOME": str(make_home(tmp_path / "prefect")),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    before = running_pids()
    told = run_program(
        "tests.e2e.two_machines",
        json.dumps(given),
        environment,
        Path(__file__).parents[2],
        800,
        make_first_machine(),
    )
    await_no_leftovers(before)

    if has_own_disk:
        root, model = told["refused"]["problems"]
        assert root[0].startswith("storage.root on ") and (not apart or root[0].endswith(" second"))
        assert f"{local} lies on the driver's own disk" in root[1] and "s3://" in root[2]
        assert model[0].startswith("models.teacher.model on ")
        assert model[1] == f"{local / 'teacher'} is not there"
        assert told["refused"]["engines"] == told["probed"]["actors"] == []
    assert not list(local.glob(".probe-*"))
    if apart:
        ((where, what, todo),) = told["probed"]["closed"]
        assert where == "storage.root on second" and "PermissionError" in what
        assert "as the driver's user" in todo
        assert told["probed"]["open"] == told["probed"]["left"] == []

    result = told["result"]
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
    assert result["engines_started"] == {"teacher": 1, "base": 1, "tuned": 1}
    assert result["scores"]["eval_loss_tuned"] < result["scores"]["eval_loss_base"]
    assert result["model"].startswith("s3://demo/store/training/")
    assert told["again"] == {}

    # The driver needs to know what the models are; only who computes needs their weights.
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    assert not list((tmp_path / "cache/opencharacter").glob("tokens/*"))
    cache = ".cache/opencharacter"
    assert all(name.startswith(".cache/") for name in told["home"])
    names = [name for name in told["home"] if not name.endswith((".lock", ".use"))]
    kept = [name for name in names if name.startswith(f"{cache}/models/")]
    assert sum(name.endswith("/model.safetensors") for name in kept) == 3
    assert sum(name.startswith(f"{cache}/tokens/") for name in names) == 2
    assert told["left"] == []
    assert told["telling"] == [] and told["speaking"]
    assert not apart or any("/root/tmp/ray/" in name for name in told["speaking"])
