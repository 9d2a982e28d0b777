"""Runs the pipeline with its store, sources and results on S3, against a real moto server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import httpx
import pytest

from infra.cluster.ports import find_port
from infra.errors import ConfigError
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    run_command,
    run_program,
    running_pids,
)
from tests.e2e.scripted import ScriptedWorld

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server on a free port of the loopback, stopped at the end."""
    port = find_port()
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(url, timeout=2)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.2)
    yield url
    process.terminate()
    process.wait(timeout=20)
    log.close()


def credentials(endpoint: str) -> dict[str, str]:
    """Return the variables by which a process finds the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def open_client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )


def test_store_and_sources_on_s3(endpoint: str, prefect_server: str, tmp_path: Path) -> None:
    env = {**credentials(endpoint), "PREFECT_API_URL": prefect_server}
    client = open_client(endpoint)
    client.create_bucket(Bucket="runs")
    world = ScriptedWorld.make(tmp_path)
    client.upload_file(str(tmp_path / "personas.jsonl"), "runs", "input/personas.jsonl")
    command = [
        "run",
        str(world.config),
        "--set",
        "storage.root=s3://runs/store",
        "--set",
        "personas.source=s3://runs/input/*.jsonl",
    ]
    first = closing_line(run_command(command, env))
    assert first["counts"]["characters"]["accepted"] == 24
    assert first["report"].startswith("s3://runs/store/runs/small/")
    keys = [
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="runs", Prefix="store")
        for item in page["Contents"]
    ]
    assert any(key.startswith("store/prefect/") for key in keys)
    assert not any("part-c-" in key for key in keys)

    again = closing_line(run_command(command, env))
    assert again["counts"] == first["counts"]
    assert again["engines_started"] == {}


@pytest.mark.timeout(900)
def test_a_node_that_has_nothing_of_the_drivers_runs_the_demo_from_s3(
    endpoint: str, prefect_server: str, tmp_path: Path
) -> None:
    client = open_client(endpoint)
    client.create_bucket(Bucket="demo")
    for role in ("teacher", "base"):
        for path in (Path("configs/demo") / role).iterdir():
            client.upload_file(str(path), "demo", f"models/{role}/{path.name}")
    overrides = [
        "storage.root=s3://demo/store",
        "models.teacher.model=s3://demo/models/teacher",
        "models.base.model=s3://demo/models/base/",
        *("personas.sample=24", "instructions.limit=12", "instructions.synthesis.count=0"),
        *("training.epochs=3", "training.max_examples=48", "training.samples.characters=0"),
        *("training.workers=1", "training.deepspeed=ddp"),
        *("evaluation.questions={suite: held_out, personas: 2}", "evaluation.judges=[]"),
        "evaluation.attribution.max_examples=4",
    ]
    given = {"overrides": overrides, "other": str(tmp_path / "other")}
    environment = {
        **credentials(endpoint),
        "PREFECT_API_URL": prefect_server,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    before = running_pids()
    told = run_program(
        "tests.e2e.two_machines", json.dumps(given), environment, Path(__file__).parents[2], 800
    )
    result = told["result"]
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
    assert result["engines_started"] == {"teacher": 1, "base": 1, "tuned": 1}
    assert result["scores"]["eval_loss_tuned"] < result["scores"]["eval_loss_base"]
    assert result["model"].startswith("s3://demo/store/training/")
    assert told["again"] == {}
    # The driver needs to know what the models are; only who computes needs their weights.
    weights = {
        machine: sum(path.endswith("model.safetensors") for path in told[machine]["models"])
        for machine in ("driver", "other")
    }
    assert weights == {"driver": 0, "other": 3}
    await_no_leftovers(before)
    assert not told["driver"]["tokens"] and len(told["other"]["tokens"]) == 2


def test_a_bucket_that_is_not_there_is_said_before_anything_starts(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.recipe.opening import prepare

    world = ScriptedWorld.make(tmp_path)
    for name, value in credentials(endpoint).items():
        monkeypatch.setitem(os.environ, name, value)
    fsspec.config.conf.pop("s3", None)
    with pytest.raises(ConfigError, match="cannot be written"):
        prepare(world.config, ["storage.root=s3://no-such-bucket/store"])
