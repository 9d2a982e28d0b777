"""Reads logs of folders and of clusters that are faked, some of whose nodes say nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import state
from ray.exceptions import RayTaskError

from infra.cluster.node_logs import (
    Asked,
    NodeLogs,
    ask_nodes,
    fetch_logs,
    find_jobs,
    read_ends,
    read_own_logs,
)
from infra.errors import ClusterError

HOUR_S = 3600.0
RUN = Asked("host", 7, 1.0, 2.0)


def write(folder: Path, name: str, text: str = "said\n", *, age_s: float = 0.0) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    os.utime(path, (time.time() - age_s,) * 2)


def test_the_ends_of_a_runs_own_logs_are_read(tmp_path: Path) -> None:
    now = time.time()
    write(tmp_path, "worker-run.err", age_s=2 * HOUR_S)
    write(tmp_path, "worker-before.out", age_s=9 * HOUR_S)
    write(tmp_path, "worker-after.out")
    write(tmp_path, "raylet.out", "it writes for ever\n")
    write(tmp_path, "worker-empty.err", " \n", age_s=2 * HOUR_S)
    write(tmp_path, "dashboard.log", age_s=2 * HOUR_S)
    found = read_ends(tmp_path, now - 3 * HOUR_S, now - HOUR_S)
    assert found == {"worker-run.err": "said\n", "raylet.out": "it writes for ever\n"}


def test_of_workers_only_those_of_the_asked_jobs_count_and_those_of_nobody(tmp_path: Path) -> None:
    write(tmp_path, "worker-1-02000000-7.err", ":job_id:02000000\nours\n")
    write(tmp_path, "worker-2-01000000-8.err", ":job_id:01000000\nanother's\n")
    write(tmp_path, "worker-3-ffffffff-9.out", ":job_id:02000000\nit waited, and became ours\n")
    write(tmp_path, "worker-4-ffffffff-10.out", ":job_id:01000000\nit became another's\n")
    write(tmp_path, "worker-5-ffffffff-11.err", "it never came up\n")
    write(tmp_path, "raylet.out")
    found = read_ends(tmp_path, jobs=["02000000"])
    assert list(found) == [
        "raylet.out",
        "worker-1-02000000-7.err",
        "worker-3-ffffffff-9.out",
        "worker-5-ffffffff-11.err",
    ]
    assert len(read_ends(tmp_path)) == 6


def test_the_jobs_of_a_run_are_those_of_its_process_in_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(job: str, ip: str = "10.0.0.1", pid: int = 7, at: float = 5000.0) -> dict[str, Any]:
        return {"JobID": job, "DriverIPAddress": ip, "DriverPid": pid, "StartTime": at * 1000}

    there = [
        make("02000000"),
        make("03000000", ip="10.0.0.2"),
        make("04000000", pid=8),
        make("05000000", at=4000.0),
        make("06000000", at=7000.0),
        make("07000000", at=5900.0),
    ]
    monkeypatch.setattr(state, "jobs", lambda: there)
    nodes = [
        {"NodeManagerAddress": f"10.0.0.{number}", "NodeManagerHostname": f"h{number}"}
        for number in (1, 2)
    ]
    ray = SimpleNamespace(nodes=lambda: nodes)
    assert find_jobs(ray, Asked("h1", 7, 5000.0, 6000.0)) == ["02000000", "07000000"]
    assert find_jobs(ray, Asked("laptop", 7, 5000.0, 6000.0)) == []
    monkeypatch.setattr(state, "jobs", lambda: [{"job_id": "02000000"}])
    assert find_jobs(ray, Asked("h1", 7, 5000.0, 6000.0)) == [], "a Ray that tells otherwise"


def test_a_folder_of_many_long_logs_is_bounded_and_the_newest_count(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path, f"worker-{number}.out", "a line\n" * 20_000, age_s=60.0 * number)
    write(tmp_path, "raylet.err")
    found = read_ends(tmp_path, most=3)
    assert list(found) == ["raylet.err", "worker-0.out", "worker-1.out"]
    assert len(found["worker-0.out"]) < 40_000
    assert set(found["worker-0.out"].splitlines()) == {"a line"}, "none begins in its middle"


def test_what_is_secret_on_a_node_does_not_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODES_OWN_TOKEN", "only-known-there")
    write(tmp_path / "logs", "worker-1.err", "token only-known-there\n")
    log = (tmp_path / "logs" / "worker-1.err").open()
    monkeypatch.setattr(Path, "resolve", lambda path: Path(log.name))
    with log:
        assert read_own_logs(0, time.time(), 9, ()) == {"worker-1.err": "token ***\n"}


class FakeRay:
    """A cluster whose nodes, by name, give logs, raise, are silent or gone."""

    def __init__(self, nodes: dict[str, Any]) -> None:
        self.given = nodes
        self.cancelled: list[str] = []
        self.asked: list[tuple[Any, ...]] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": name,
                "NodeManagerHostname": "host",
                "Alive": given != "gone",
                "Resources": {"CPU": 1},
            }
            for name, given in self.given.items()
        ]

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options == {"max_retries": 0, "num_cpus": 0}

        def bind(scheduling_strategy: Any) -> Any:
            def fly(*given: Any) -> str:
                self.asked.append(given)
                return str(scheduling_strategy.node_id)

            return SimpleNamespace(remote=fly)

        return lambda function: SimpleNamespace(options=bind)

    def wait(self, flights: list[str], num_returns: int, timeout: float) -> tuple[Any, Any]:
        assert num_returns == len(flights)
        done = [flight for flight in flights if self.given[flight] != "silent"]
        return done, [flight for flight in flights if flight not in done]

    def get(self, flight: str) -> Any:
        if isinstance(self.given[flight], Exception):
            raise self.given[flight]
        return self.given[flight]

    def cancel(self, flight: str, *, force: bool) -> None:
        self.cancelled.append(flight)


def test_each_node_gives_its_logs_or_says_why_not() -> None:
    broken = RayTaskError("read_own_logs", "Traceback\nOSError: disk", OSError("disk"))
    a, b, c, d = (letter * 56 for letter in "abcd")
    ray = FakeRay({a: {"worker-1.err": "said"}, b: broken, c: "silent", d: "gone"})
    assert ask_nodes(ray, RUN, ["02000000"], 30) == [
        NodeLogs(a, "host", {"worker-1.err": "said"}),
        NodeLogs(b, "host", {}, "could not read its logs: OSError: disk"),
        NodeLogs(c, "host", {}, "did not answer within 30 s"),
        NodeLogs(d, "host", {}, "is gone"),
    ]
    assert ray.cancelled == [c]
    assert set(ray.asked) == {(1.0, 2.0, 40, ("02000000",))}


def test_logs_of_jobs_that_are_not_known_may_be_mixed() -> None:
    a, b = "a" * 56, "b" * 56
    logs = ask_nodes(FakeRay({a: {"worker-1.err": "said"}, b: "gone"}), RUN, [], 30)
    assert [(item.node, item.mixed) for item in logs] == [(a, True), (b, False)]


def test_many_nodes_give_fewer_logs_each() -> None:
    ray = FakeRay({f"{number:056x}": {} for number in range(1, 201)})
    ask_nodes(ray, RUN, [], 30)
    assert set(ray.asked) == {(1.0, 2.0, 4, ())}


def test_a_cluster_that_is_not_there_is_an_error_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match="nobody answers there") as caught:
        fetch_logs(f"127.0.0.1:{port}", RUN)
    assert len(str(caught.value).splitlines()) == 1


def test_a_head_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], *, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ClusterError, match="did not answer within 95 s"):
        fetch_logs("head:6379", RUN, patience_s=5)
