"""Proves that a store on S3 stays right where S3 is slow and fails, and asks it little."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infra import retrying
from infra.errors import ConfigError, StorageError
from infra.secrets.s3_credentials import apply_credentials
from infra.store import parquet_reads
from infra.store import storage as storage_module
from infra.store.key_index import FAN_IN
from infra.store.manifests import (
    Manifest,
    PartRef,
    find_sound_manifest,
    write_manifest,
)
from infra.store.row_store import (
    MERGE_CHUNKS,
    commit_chunk,
    compact_chunks,
    encode_rows,
    find_pending,
    merge_chunks,
    read_committed,
    read_rows,
    write_members,
)
from infra.store.storage import Storage, forget_connections
from tests.e2e.stumbling_s3 import FAIR, StumblingS3, Weather, run_s3
from tests.unit.infra.nodes import NODE, Note, make_manifest, make_plan, make_row

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STORM = Weather(latency_s=0.005, refused=0.03, lost=0.03, cut=0.03)
CHUNK_ROWS = 64
STAGE_ROWS = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[StumblingS3]:
    with run_s3() as running:
        yield running


@pytest.fixture
def s3(server: StumblingS3) -> StumblingS3:
    """The server in fair weather, its counters at nought."""
    server.weather = FAIR
    server.spoilt = 0
    server.chance.seed(5)
    server.requests.clear()
    forget_connections()
    return server


def commit(storage: Storage, *keys: str) -> PartRef:
    return commit_chunk(storage, NODE.folder, encode_rows(Note, [make_row(key) for key in keys]))


def finish_node(storage: Storage, keys: Sequence[str]) -> Manifest:
    """Finish a node as the stage runner does."""
    parts = compact_chunks(storage, NODE.folder)
    path = f"{NODE.folder}/{NODE.fingerprint}.members.parquet"
    manifest = make_manifest(parts, write_members(storage, path, make_plan(*keys)))
    write_manifest(storage, manifest)
    return manifest


def test_rows_are_neither_lost_nor_doubled_in_a_storm(s3: StumblingS3) -> None:
    storage = s3.storage("storm")
    s3.weather = STORM
    keys = [f"{number:03}" for number in range(60)]
    first = [commit(storage, *keys[start : start + 3]).path for start in range(0, 30, 3)]
    merge_chunks(storage, NODE.folder, first)
    for start in range(30, 57, 3):
        commit(storage, *keys[start : start + 3])
    commit(storage, *keys[54:57])  # a worker that was taken for dead had made them already
    pending = find_pending(make_plan(*keys), read_committed(storage, NODE.folder))
    assert pending["key"].to_list() == keys[57:]
    commit(storage, *keys[57:])
    manifest = finish_node(storage, keys)
    assert read_rows(storage, manifest)["key"].to_list() == keys
    assert find_sound_manifest(storage, NODE.manifest_path) == manifest
    left = [stat.path for stat in storage.list(NODE.folder, ".parquet")]
    assert not [path for path in left if "part-c-" in path]
    assert s3.spoilt > 5


def test_large_files_come_and_go_whole_in_a_storm(
    s3: StumblingS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "_RANGE_BYTES", 64 << 10)
    storage = s3.storage("large")
    storm = Weather(latency_s=0.005, refused=0.1, cut=0.1)
    sent = tmp_path / "sent"
    sent.write_bytes(random.Random(3).randbytes(3_000_000))
    s3.weather = storm
    storage.upload("weights", sent)
    storage.download("weights", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == sent.read_bytes()
    assert s3.requests["GET"] >= 46
    assert s3.spoilt > 5
    with pytest.raises(FileNotFoundError):
        storage.download("none", tmp_path / "none")


def test_what_stays_broken_is_given_up_after_a_bounded_number_of_requests(
    s3: StumblingS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "_ATTEMPTS", 2)
    monkeypatch.setattr(storage_module, "_REQUEST_ATTEMPTS", 2)
    s3.weather = Weather(refused=1.0)
    with pytest.raises(StorageError, match="failed 2 times"):
        s3.storage("broken").read_bytes("file")
    assert s3.requests.total() == 4
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_connections()
    with pytest.raises(StorageError, match="failed 2 times"):
        s3.storage("gone").list("folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        s3.storage("gone").check_writable()


def test_missing_credentials_are_an_error_of_the_configuration(
    s3: StumblingS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_connections()
    with pytest.raises(ConfigError, match=r"AWS_ACCESS_KEY_ID .* storage\.credentials"):
        s3.storage("nobody").check_writable()
    assert s3.requests.total() == 0


def test_endpoint_and_credentials_may_come_from_one_secret(
    s3: StumblingS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another key")
    secret = {"endpoint_url": s3.url, "access_key_id": "a", "secret_access_key": "b"}
    monkeypatch.setenv("OC_TEST_S3", json.dumps(secret))
    apply_credentials("env:OC_TEST_S3")
    s3.storage("secret").check_writable()
    assert s3.requests["PUT"] == 1
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_what_others_write_is_seen_whatever_was_listed_before(s3: StumblingS3) -> None:
    storage = s3.storage("others")
    storage.write_bytes("folder/one", b"1")
    assert len(storage.list("folder")) == 1
    assert len(storage.walk("")) == 1
    s3.put("others/folder/two", b"22")
    assert storage.read_bytes("folder/two") == b"22"
    stat = storage.stat("folder/two")
    assert stat is not None
    assert stat.size == 2
    assert len(storage.list("folder")) == len(storage.walk("")) == 2


def test_planning_a_stage_of_a_million_rows_takes_few_requests(
    s3: StumblingS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: all rows but a few are merged, and as many chunks as may wait do wait.

    The parts are as many as a million rows make and smaller than theirs, so the bounds from which
    on a part is read in stretches are lowered too: they are read by two requests, as large ones.
    """
    monkeypatch.setattr(parquet_reads, "WHOLE_BYTES", 24 << 10)
    monkeypatch.setattr(parquet_reads, "_TAIL_BYTES", 16 << 10)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    merges = STAGE_ROWS // CHUNK_ROWS // MERGE_CHUNKS
    keys = build_stage(Storage(str(tmp_path)), merges, MERGE_CHUNKS - 1)
    for path in sorted((tmp_path / NODE.folder).iterdir()):
        s3.put(f"million/{NODE.folder}/{path.name}", path.read_bytes())

    storage = s3.storage("million")
    s3.requests.clear()
    assert find_sound_manifest(storage, NODE.manifest_path) is None
    committed = read_committed(storage, NODE.folder)
    pending = find_pending(make_plan(*keys, "new"), committed)
    asked = s3.requests.total()
    print(f"{merges} merged parts, {MERGE_CHUNKS - 1} chunks: {dict(s3.requests)}")
    assert pending["key"].to_list() == ["new"]
    assert committed.height == len(keys)
    assert 2 * (merges % FAN_IN) < asked <= 200

    parts = [
        PartRef(path=stat.path, size=stat.size, token=stat.token, digest="", rows=0)
        for stat in storage.list(NODE.folder)
    ]
    write_manifest(storage, make_manifest(parts))
    s3.requests.clear()
    assert find_sound_manifest(storage, NODE.manifest_path) is not None
    assert s3.requests.total() == 2


def build_stage(storage: Storage, merges: int, waiting: int) -> list[str]:
    """Commit rows, merging as a dispatcher does, and leave some chunks unmerged."""
    chance = random.Random(1)
    keys: list[str] = []

    def add(rows: int) -> str:
        fresh = [f"{chance.getrandbits(128):032x}" for _ in range(rows)]
        keys.extend(fresh)
        made = [make_row(key, text=chance.randbytes(2400).hex()) for key in fresh]
        return commit_chunk(storage, NODE.folder, encode_rows(Note, made)).path

    for _ in range(merges):
        merge_chunks(storage, NODE.folder, [add(12)])
    for _ in range(waiting):
        add(2)
    return keys
