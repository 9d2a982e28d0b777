"""Publishes an exported model to S3 and fetches it back, against a real moto server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from infra.engines.config import ModelConfig
from infra.engines.identity import identify_model
from infra.errors import ConfigError, StorageError
from infra.exported_models import fetch_export, publish_export
from infra.storage import Storage
from tests.unit.infra.test_exported_models import build_export

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Storage]:
    """A bucket of a server in this process; the local cache is in a folder of the test's own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield Storage(f"s3://bucket/{tmp_path.name}")  # the server forgets nothing between tests
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_an_export_comes_back_once_and_by_its_digest(remote: Storage, tmp_path: Path) -> None:
    folder = build_export(tmp_path / "export")
    parts = publish_export(remote, "training/x/export", folder)
    assert {part.path.rsplit("/", 1)[-1] for part in parts} >= {"export.json", "config.json"}

    kept = fetch_export(remote, "training/x/export")
    assert (kept / "model.safetensors").read_bytes() == b"weights"
    assert (kept / "README.md").read_text() == "card"
    assert identify_model(ModelConfig(model=str(kept))) == identify_model(
        ModelConfig(model=str(folder))
    )
    before = (kept / "model.safetensors").stat().st_mtime_ns
    assert fetch_export(remote, "training/x/export") == kept
    assert (kept / "model.safetensors").stat().st_mtime_ns == before

    publish_export(
        remote, "training/x/export", build_export(tmp_path / "other", weights=b"others!")
    )
    other = fetch_export(remote, "training/x/export")
    assert other != kept
    assert (other / "model.safetensors").read_bytes() == b"others!"


def test_what_is_not_what_the_manifest_names_is_not_kept(remote: Storage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no exported model there"):
        fetch_export(remote, "training/x/export")
    publish_export(remote, "training/x/export", build_export(tmp_path / "export"))
    remote.write_bytes("training/x/export/model.safetensors", b"weighty")
    with pytest.raises(StorageError, match="not what its manifest names"):
        fetch_export(remote, "training/x/export")
    remote.remove("training/x/export/model.safetensors")
    with pytest.raises(StorageError, match="named by its manifest but gone"):
        fetch_export(remote, "training/x/export")
    assert not [name for name in os.listdir(tmp_path / "cache/opencharacter/models") if name]  # noqa: PTH208
