"""Runs the pipeline with its store, sources and results on S3, against a real moto server."""

from __future__ import annotations

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
from tests.e2e.processes import closing_line, run_command
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
