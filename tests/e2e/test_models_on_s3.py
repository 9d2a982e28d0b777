"""Reads models from S3, exports and folders of one's own, against a real moto server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from infra.engines.config import ModelConfig
from infra.engines.identity import identify_model
from infra.engines.model_facts import ModelFacts, find_model_facts
from infra.errors import ConfigError, StorageError
from infra.models import folders as model_folders
from infra.models.exported import publish_export, withdraw_export
from infra.models.folders import (
    bring_model,
    fetch_export,
    fetch_model,
    measure_brought,
    peek_model,
)
from infra.models.node_cache import measure_path
from infra.paths import CACHE_GIB
from infra.store.storage import Storage, find_inputs
from tests.unit.infra.models.test_exported_models import build_export

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
    with pytest.raises(ConfigError, match="no model there"):
        fetch_export(remote, "training/x/export")
    publish_export(remote, "training/x/export", build_export(tmp_path / "export"))
    remote.write_bytes("training/x/export/model.safetensors", b"weighty")
    with pytest.raises(StorageError, match="not what its manifest names"):
        fetch_export(remote, "training/x/export")
    remote.remove("training/x/export/model.safetensors")
    with pytest.raises(StorageError, match="named by its manifest but gone"):
        fetch_export(remote, "training/x/export")
    left = os.listdir(tmp_path / "cache/opencharacter/models")  # noqa: PTH208
    assert all(name.endswith((".lock", ".use", ".tmp")) for name in left)


FOLDER = {
    "config.json": b'{"max_position_embeddings": 512, "num_hidden_layers": 2, "hidden_size": 8,'
    b' "vocab_size": 16, "dtype": "bfloat16"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"w" * 64,
    "pytorch_model.bin": b"the same, pickled",
    "consolidated.00.pth": b"the same, as it was published first",
}

READ = ("config.json", "model.safetensors", "tokenizer.json")


def put_folder(storage: Storage, weights: bytes = FOLDER["model.safetensors"]) -> str:
    for name, data in (FOLDER | {"model.safetensors": weights}).items():
        storage.write_bytes(f"mine/{name}", data)
    return storage.url("mine")


def start_fetching(address: str) -> subprocess.Popen[str]:
    code = f"from infra.models.folders import fetch_model; print(fetch_model({address!r}))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_folder_of_ones_own_is_copied_once_and_only_what_is_read(
    remote: Storage, tmp_path: Path
) -> None:
    address = put_folder(remote)
    light = peek_model(address)
    assert sorted(path.name for path in light.iterdir()) == ["config.json", "tokenizer.json"]
    assert find_model_facts(ModelConfig(model=address)) == ModelFacts(512, 32, 2, 8, 16, 64)
    # Several processes of a machine want it at once, as an engine, its worker and the ranks do.
    running = [start_fetching(address) for _ in range(3)]
    found = {process.communicate(timeout=60)[0].strip() for process in running}
    (whole,) = map(Path, found)
    names = sorted(path.name for path in whole.iterdir())
    assert names == list(READ)
    assert peek_model(f"{address}/") == whole
    kept = [name for name in os.listdir(whole.parent) if not name.endswith((".lock", ".use"))]  # noqa: PTH208
    assert sorted(kept) == sorted([whole.name, light.name])


def test_what_nobody_uses_makes_room_for_what_comes(
    remote: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Path(start_fetching(put_folder(remote)).communicate(timeout=60)[0].strip())
    assert first.is_dir()
    monkeypatch.setenv(CACHE_GIB, "0.0000001")
    second, third = (
        Path(fetch_model(put_folder(remote, weights))) for weights in (b"v" * 64, b"u" * 64)
    )
    assert not first.exists()
    assert second.is_dir() and third.is_dir(), "this process uses both"


def test_a_copy_that_was_stopped_goes_on_with_what_is_missing(
    remote: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, fetched = put_folder(remote), []

    def download(storage: Storage, path: str, local: Path) -> None:
        fetched.append(path.strip("/"))
        if len(fetched) == 2:
            local.write_bytes(b"half")
            raise KeyboardInterrupt
        copy(storage, path, local)

    copy = Storage.download
    monkeypatch.setattr(Storage, "download", download)
    total = sum(len(FOLDER[name]) for name in READ)
    part = tmp_path / "part"
    with part.open("wb") as file:
        file.truncate(10**9)
    assert measure_path(part) == 0, "as long as the whole from the beginning"
    assert measure_brought(address) == (0, total)
    with pytest.raises(KeyboardInterrupt):
        bring_model(address)
    assert measure_brought(address) == (len(FOLDER[fetched[0].rpartition("/")[2]]) + 4, total)
    bring_model(address)
    assert measure_brought(address) == (total, total)
    whole = Path(fetch_model(address))
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == {
        name: FOLDER[name] for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    assert len(fetched) == 4 and len(set(fetched)) == 3


def test_an_object_that_marks_a_folder_is_no_file(remote: Storage) -> None:
    address = put_folder(remote)
    bucket, _, key = address.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for marker in (f"{key}/", f"{key}/original/"):
        client.put_object(Bucket=bucket, Key=marker, Body=b"")
    fetched = {path.name for path in Path(fetch_model(address)).iterdir()}
    assert fetched == {"config.json", "model.safetensors", "tokenizer.json"}
    assert {stat.path for stat in remote.list("mine")} == {f"mine/{name}" for name in FOLDER}
    assert set(remote.walk("mine")) == {f"mine/{name}" for name in FOLDER}
    named = {f"{address}/{name}" for name in FOLDER}
    for source in (address, f"{address}/*"):
        assert {stat.path for stat in find_inputs(source, ("",))} == named


def test_a_folder_that_changed_is_another_model(
    remote: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identify(address: str) -> str:
        model_folders._name_version.cache_clear()
        return identify_model(ModelConfig(model=address))

    address = put_folder(remote)
    before, path = identify(address), fetch_model(address)
    assert identify(address) == before
    put_folder(remote, b"v" * 64)
    assert identify(address) != before and fetch_model(address) != path
    with pytest.raises(ConfigError, match=r"no config\.json"):
        identify(remote.url("nowhere"))


def test_an_export_is_the_same_model_wherever_it_lies(remote: Storage, tmp_path: Path) -> None:
    folder = build_export(tmp_path / "export")
    here = identify_model(ModelConfig(model=str(folder)))
    publish_export(remote, "e", folder)
    assert identify_model(ModelConfig(model=remote.url("e"))) == here
    withdraw_export(remote, "e")
    with pytest.raises(ConfigError, match="no model there"):
        fetch_model(remote.url("e"))
