"""Packs a run with planted secrets and looks for them in every byte of the archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from flows.runs import bundle as bundling
from flows.runs.bundle import bundle_run, print_bundle
from flows.runs.history import NodeMark, RunRecord
from infra.cluster.node_logs import Asked, NodeLogs
from infra.errors import ClusterError, ConfigError
from infra.store.manifests import read_manifest
from infra.store.storage import Storage
from tests.unit.flows.evaluated import World, write_run

PLANTED = "pl4nted-teacher-key"
PASSWORD = "hunter22hunter22"
PID = 4711


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("TEACHER", PLANTED)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(bundling, "_ask_doctor", lambda: "all is well\n")
    return Storage(str(tmp_path / "store"))


def make_run(storage: Storage, ray: str = "", host: str = "") -> World:
    """Write a run that names a key, an address with a password, and logs that shout both."""
    world = World(storage)
    manifests = [read_manifest(storage, item.manifest) for item in world.done.values()]
    record = RunRecord(
        run="demo",
        id="20260101T000000000-aaaaaa",
        began="2026-01-01T00:00:00+00:00",
        pid=PID,
        config="models:\n  teacher:\n    api_key: env:TEACHER\n"
        f"    base_url: https://me:{PASSWORD}@host.test/v1\n{ray}",
        host=host,
        nodes=tuple(
            NodeMark(stage=item.stage, recipe=item.recipe, fingerprint=item.fingerprint)
            for item in manifests
        ),
    )
    storage.write_bytes(record.path, record.model_dump_json().encode())
    write_run(storage, "demo", world.done.values())
    logs = Path(storage.root).parent / "tmp" / "ray" / f"session_2026-01-01_00_{PID}" / "logs"
    logs.mkdir(parents=True)
    told = f"starting with {PLANTED}\nAuthorization: Bearer {PASSWORD}\n"
    (logs / "worker-1.err").write_text(told)
    (logs / "worker-2.out").write_text("x" * 70 + "\n" + f"{PLANTED} line\n" * 5000)
    (logs / "worker-3.out").write_text("")
    other = logs.parents[1] / "session_2026-01-01_00_99" / "logs"
    other.mkdir(parents=True)
    (other / "worker-9.err").write_text("another program")
    return world


def read_archive(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_planted_secret_and_no_row_is_in_the_archive(storage: Storage, tmp_path: Path) -> None:
    world = make_run(storage)
    out = tmp_path / "bug.zip"

    written = bundle_run(storage, "demo", out)

    files = read_archive(out)
    everything = "\n".join([*files, *files.values()])
    for secret in (PLANTED, PASSWORD, str(tmp_path)):
        assert secret not in everything
    for row in (world.dialogue.turns[1].content, world.baker.personality, world.held_out.question):
        assert row not in everything
    assert written.size == out.stat().st_size
    assert json.loads(print_bundle(written))["files"] == len(files)


def test_the_archive_holds_what_a_report_needs(storage: Storage, tmp_path: Path) -> None:
    make_run(storage)
    out = tmp_path / "bug.zip"
    bundle_run(storage, "demo", out)

    files = read_archive(out)

    assert "api_key: env:TEACHER" in files["config.yaml"]
    assert "https://***@host.test/v1" in files["config.yaml"]
    assert json.loads(files["record.json"])["pid"] == PID
    assert json.loads(files["summary.json"])["run"] == "demo"
    assert json.loads(files["manifests/characters.json"])["stage"] == "characters"
    assert "goes on where it stopped" in files["status.txt"]
    assert "polars==" in files["versions.txt"]
    assert files["doctor.txt"] == "all is well\n"
    logs = f"logs/session_2026-01-01_00_{PID}"
    assert files[f"{logs}/worker-1.err"] == "starting with ***\nAuthorization: Bearer ***\n"
    assert set(name for name in files if name.startswith("logs/")) == {
        f"{logs}/worker-1.err", f"{logs}/worker-2.out",
    }  # fmt: skip


CLUSTER = "ray:\n  address: head:6379\n"


def test_a_run_on_a_cluster_brings_the_logs_of_all_nodes_and_says_who_gave_none(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(storage, CLUSTER)
    asked = []

    def fetch(address: str, run: Asked) -> list[NodeLogs]:
        asked.append((address, run.pid, run.began <= run.ended))
        return [
            NodeLogs("b" * 56, "two", {"worker-1.err": f"key {PLANTED}\n", "raylet.out": "up\n"}),
            NodeLogs("a" * 56, "one", {}, "did not answer within 30 s"),
            NodeLogs("c" * 56, "two", {"raylet.out": "up\n"}, mixed=True),
        ]

    monkeypatch.setattr(bundling, "fetch_logs", fetch)
    bundle_run(storage, "demo", tmp_path / "bug.zip")

    files = read_archive(tmp_path / "bug.zip")
    logs = {name: text for name, text in files.items() if name.startswith("logs/")}
    assert asked == [("head:6379", PID, True)]
    assert logs == {
        "logs/two-bbbbbbbb/worker-1.err": "key ***\n",
        "logs/two-bbbbbbbb/raylet.out": "up\n",
        "logs/two-cccccccc/raylet.out": "up\n",
        "logs/nodes.txt": "one-aaaaaaaa: did not answer within 30 s\ntwo-bbbbbbbb: 2 logs\n"
        "two-cccccccc: 1 logs, of other jobs too if there were some\n",
    }


def test_a_cluster_that_is_gone_is_told_in_the_archive(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> list[NodeLogs]:
        raise ClusterError("ray.address head:6379: nobody answers there")

    make_run(storage, CLUSTER)
    monkeypatch.setattr(bundling, "fetch_logs", fetch)
    bundle_run(storage, "demo", tmp_path / "bug.zip")
    told = read_archive(tmp_path / "bug.zip")["logs/nodes.txt"]
    assert told.startswith("No logs of the cluster at head:6379: ") and "nobody answers" in told


def test_a_run_of_another_machine_says_where_its_logs_are(storage: Storage, tmp_path: Path) -> None:
    make_run(storage, host="far.example")
    bundle_run(storage, "demo", tmp_path / "bug.zip")
    assert "was on far.example" in read_archive(tmp_path / "bug.zip")["logs/nodes.txt"]


def test_a_cut_log_begins_at_a_line_so_that_no_half_secret_is_left(
    storage: Storage, tmp_path: Path
) -> None:
    make_run(storage)
    out = tmp_path / "bug.zip"
    bundle_run(storage, "demo", out)

    tail = read_archive(out)[f"logs/session_2026-01-01_00_{PID}/worker-2.out"]

    assert set(tail.splitlines()) == {"*** line"}


def test_an_archive_that_cannot_be_written_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    make_run(storage)
    with pytest.raises(ConfigError, match="give --out a file in a folder that exists"):
        bundle_run(storage, "demo", tmp_path / "no" / "bug.zip")
    with pytest.raises(ConfigError, match="no run other"):
        bundle_run(storage, "other", tmp_path / "bug.zip")
    assert not (tmp_path / "bug.zip").exists()


def test_doctor_is_asked_and_its_answer_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert "CPUs" in bundling._ask_doctor()
    assert capsys.readouterr().out == ""
