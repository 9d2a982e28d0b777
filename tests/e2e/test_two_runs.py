"""Starts two runs on one root at once, and lets two claim one root on S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import RootBusy, RootLost
from infra.locking.holder import read_holder
from infra.locking.root_lock import LOCK_FILE, STALE_S
from infra.store.storage import FileVersion, forget_connections
from tests.e2e.processes import await_no_leftovers, closing_line, count_parts, running_pids
from tests.e2e.scripted import LEDGER, ROW_STAGES, ScriptedWorld, read_parts
from tests.e2e.stumbling_s3 import FAIR, StumblingS3, run_s3
from tests.unit.infra.locking.clocks import Clock, make_lock, take

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SLOW = "models.teacher.script={latency_s: 0.1, respond: tests.e2e.scripted.respond_and_log}"


@pytest.fixture(scope="module")
def server() -> Iterator[StumblingS3]:
    with run_s3() as running:
        yield running


@pytest.fixture
def s3(server: StumblingS3) -> StumblingS3:
    """The server in fair weather."""
    server.weather = FAIR
    forget_connections()
    return server


@pytest.mark.parametrize("before", ["nobody", "run z"])
def test_of_two_who_claim_a_root_on_s3_at_once_one_has_it(s3: StumblingS3, before: str) -> None:
    clock, mine, other = Clock(), s3.storage(before), s3.storage(before)
    if before != "nobody":
        ended = make_lock(other, before, clock)
        take(ended)
        ended.release()
    first, second = make_lock(mine, "run a", clock), make_lock(other, "run b", clock)
    seen: list[FileVersion | None] = []
    real = mine.read_version

    def read_then_be_overtaken(path: str) -> FileVersion | None:
        found = real(path)
        if not seen:
            seen.append(found)
            take(second)
        return found

    mine.read_version = read_then_be_overtaken  # type: ignore[method-assign]
    with pytest.raises(RootBusy, match="held by run b"):
        take(first, wait=False)
    assert (seen[0] is None) == (before == "nobody")
    second.renew()


def test_who_was_taken_over_on_s3_commits_no_more(s3: StumblingS3) -> None:
    clock, old, new = Clock(), s3.storage("fenced"), s3.storage("fenced")
    frozen, heir = make_lock(old, "run a", clock), make_lock(new, "run b", clock)
    take(frozen)
    old.fence, new.fence = frozen, heir
    stale = old.read_version(LOCK_FILE)
    absent = old.read_version("node/manifest.json")
    _, took_over = take(heir)
    assert "took over from run a" in took_over
    assert clock.now - Clock().now >= STALE_S
    new.commit("node/manifest.json", b"new")

    with pytest.raises(RootLost, match="taken over by run b"):
        frozen.renew()
    with pytest.raises(RootLost):
        old.commit("node/manifest.json", b"old")
    assert not old.swap(LOCK_FILE, stale, b"{}")
    assert not old.swap("node/manifest.json", absent, b"old")
    assert not old.swap("node/never.json", stale, b"old")
    assert s3.storage("fenced").read_bytes("node/manifest.json") == b"new"
    heir.renew()


def test_a_lost_answer_to_a_write_is_no_refusal(
    s3: StumblingS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, kept = s3.storage("lost"), s3.decide
    losses: list[int] = []

    def lose_once(method: str) -> str:
        if method != "PUT" or not losses or not losses.pop():
            return kept(method)
        return "lost"

    monkeypatch.setattr(s3, "decide", lose_once)
    lock = make_lock(storage, "run a", Clock())
    losses = [1]
    assert take(lock, wait=False) == []
    for beat in (1, 2):
        losses = [1]
        lock.renew()
        assert losses == []
        assert read_holder(storage.read_bytes(LOCK_FILE)).beat == beat
    losses = [1]
    lock.release()
    assert read_holder(storage.read_bytes(LOCK_FILE)).ended


IMPATIENT = (
    "from infra.locking import root_lock; root_lock.STALE_S = 3.0;"
    "from flows.cli.main import main; main()"
)


def start_run(
    world: ScriptedWorld, env: dict[str, str], program: tuple[str, str] = ("-m", "flows.cli")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, "run", str(world.config), "--set", SLOW],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_two_runs_of_one_configuration_make_every_row_once(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path)
    ledger = tmp_path / "ledger"
    env = {LEDGER: str(ledger), "PREFECT_API_URL": prefect_server}
    before = running_pids()

    runs = [start_run(world, env) for _ in range(2)]
    done = [finish(run) for run in runs]

    results = [closing_line(one) for one in done]
    assert results[0]["counts"] == results[1]["counts"]
    assert sorted(result["engines_started"].get("teacher", 0) for result in results) == [0, 1]
    (waited,) = [one for one in done if "waits: " in one.stderr]
    worked = next(run for run in runs if run.pid != runs[done.index(waited)].pid)
    assert f"{world.root} is held by run small (process {worked.pid} on " in waited.stderr
    assert "goes on after waiting" in waited.stderr
    asked = ledger.read_text().splitlines()
    assert len(asked) == len(set(asked)) > 0
    for name in ROW_STAGES:
        rows, counts = read_parts(world.root, name), results[0]["counts"][name]
        assert rows["key"].n_unique() == rows.height == counts["planned"]
        assert counts["accepted"] + counts["rejected"] == counts["planned"]
    await_no_leftovers(before)


def test_a_run_that_stood_still_while_another_took_over_ends_and_changes_nothing(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path)
    env = {LEDGER: str(tmp_path / "ledger"), "PREFECT_API_URL": prefect_server}
    before = running_pids()
    frozen = start_run(world, env)
    deadline = time.monotonic() + 120
    while not count_parts(world.root, "characters"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    frozen.send_signal(signal.SIGSTOP)
    try:
        heir = finish(start_run(world, env, ("-c", IMPATIENT)))
        proofs = read_proofs(world.root)
    finally:
        frozen.send_signal(signal.SIGCONT)
        lost = finish(frozen)

    assert closing_line(heir)["counts"]["characters"]["accepted"] == 24
    assert f"took over from run small (process {frozen.pid} on " in heir.stderr
    assert lost.returncode == 1, lost.stderr[-2000:]
    assert "RootLost: " in lost.stderr
    assert f"{world.root} was taken over by run small" in lost.stderr
    assert len(proofs) > 10
    assert read_proofs(world.root) == proofs
    await_no_leftovers(before)


def read_proofs(root: Path) -> dict[str, bytes]:
    """Return every manifest, and every part that one names."""
    found = [path for path in sorted(root.glob("*/*/*.json")) if path.parts[-3] != "runs"]
    manifests = {str(path): path.read_bytes() for path in found}
    named = [part["path"] for text in manifests.values() for part in json.loads(text)["parts"]]
    return manifests | {path: (root / path).read_bytes() for path in named}
