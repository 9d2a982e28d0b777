"""Forks real processes from a server with light imports; engines from the real one: tests/e2e."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from infra.cluster.torch_build import TorchBuild
from infra.engines.vllm import forks as vllm_forks
from infra.engines.vllm.forks import ForkServer, can_fork, start_fork
from tests.unit.infra.engines import fork_targets

BOUND = """
import json, os
from infra.engines.vllm.forks import _bind_threads
_bind_threads()
import torch
own = [tuple(os.sched_getaffinity(int(name))) for name in os.listdir("/proc/self/task")]
print(json.dumps({
    "threads": torch.get_num_threads(),
    "main": tuple(os.sched_getaffinity(os.getpid())),
    "bound": sorted(cores for cores in own if len(cores) == 1),
}))
"""
OWNER = """
import os, sys
from infra.engines.vllm import forks as vllm_forks
from tests.unit.infra.engines import fork_targets
vllm_forks._IMPORTS = "tests.unit.infra.engines.fork_targets"
server = vllm_forks.ForkServer()
os.environ["ADDRESS"] = server.address
vllm_forks.start_fork(server.address, fork_targets.fork_again, sys.argv[1])
input()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", fork_targets.__name__)
    with closing(ForkServer()) as forks:
        yield forks


def read(path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def await_end(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline, f"one of {pids} is still there"
        time.sleep(0.02)


def test_a_fork_is_as_if_it_had_been_spawned_but_for_the_imports(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("SET_SINCE", "the server started")
    monkeypatch.chdir(tmp_path)
    process = start_fork(server.address, fork_targets.describe, str(tmp_path / "told"))
    process.join(30)
    assert process.exitcode == 0
    told = read(tmp_path / "told")
    assert told["imported_by"] not in (told["pid"], os.getpid())
    assert told["environment"] == dict(os.environ)
    assert told["cwd"] == str(tmp_path)
    assert told["group"] == told["pid"]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("to output\n", "to error\n")


def test_a_forks_fork_is_of_its_group_and_all_end_with_the_one_that_asked(
    server: ForkServer, tmp_path: Path
) -> None:
    process = start_fork(server.address, fork_targets.fork_again, str(tmp_path / "told"))
    outer, inner = read(tmp_path / "told"), read(tmp_path / "told.inner")
    assert inner["environment"]["SET_SINCE"] == "by a fork"
    assert inner["group"] == outer["group"] == outer["pid"] != inner["pid"]
    assert inner["imported_by"] == outer["imported_by"]
    process.kill()
    process.join(30)
    await_end(inner["pid"])


def test_nothing_is_left_of_a_killed_owner(tmp_path: Path) -> None:
    out = tmp_path / "told"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(out)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    ) as owner:
        outer, inner = read(out), read(tmp_path / "told.inner")
        owner.send_signal(signal.SIGKILL)
    await_end(outer["pid"], inner["pid"], outer["imported_by"])
    assert not Path(outer["environment"]["ADDRESS"]).parent.exists()


def test_forks_hear_no_ctrl_c_and_end_with_their_server(tmp_path: Path, server: ForkServer) -> None:
    start_fork(server.address, fork_targets.sleep, str(tmp_path / "told"))
    told = read(tmp_path / "told")
    for name in ("pid", "imported_by"):
        os.kill(told[name], signal.SIGINT)  # as Ctrl-C would, were they in the terminal's group
        assert os.getsid(told[name]) != os.getsid(0)
    time.sleep(0.2)
    assert psutil.Process(told["pid"]).status() != psutil.STATUS_ZOMBIE
    os.kill(told["imported_by"], signal.SIGKILL)
    await_end(told["pid"])


def test_nothing_is_left_of_a_closed_server(server: ForkServer, tmp_path: Path) -> None:
    process = start_fork(server.address, fork_targets.describe, str(tmp_path / "told"))
    process.join(30)
    assert Path(server.address).exists() and server.is_alive
    server.close()
    server.close()
    assert not Path(server.address).parent.exists() and not server.is_alive


@pytest.mark.parametrize("places", ["cores", "0-3", "{0,1},{2,3}"])
def test_notations_that_people_use_bind_nothing(
    places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_CPU_AFFINITY", raising=False)
    monkeypatch.setenv("OMP_PLACES", places)
    before = os.sched_getaffinity(0)
    vllm_forks._bind_threads()
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("given", [None, "/usr/lib/libtcmalloc.so"])
def test_openmp_is_loaded_first_in_the_fork_server_and_nowhere_else(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", fork_targets.__name__)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if given:
        monkeypatch.setenv("LD_PRELOAD", given)
    with closing(ForkServer()) as forks:
        process = start_fork(forks.address, fork_targets.describe, str(tmp_path / "told"))
        process.join(30)
    told = read(tmp_path / "told")
    libraries, threads = told["imported_with"]
    assert "libgomp" in libraries and libraries.startswith(given or "")
    assert threads == "1"
    assert os.environ.get("LD_PRELOAD") == told["environment"].get("LD_PRELOAD") == given


def test_on_gpus_and_with_intels_openmp_vllm_spawns_as_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_forks, "read_torch_build", lambda: TorchBuild("2.13.0", "cpu"))
    assert can_fork()
    monkeypatch.setenv("LD_PRELOAD", "/opt/intel/libiomp5.so")
    assert not can_fork()
    monkeypatch.delenv("LD_PRELOAD")
    gpu = TorchBuild("2.13.0", "cuda", "13.0")
    monkeypatch.setattr(vllm_forks, "read_torch_build", lambda: gpu)
    assert not can_fork()


@pytest.mark.parametrize("name", ["GOMP_CPU_AFFINITY", "OMP_PLACES"])
def test_a_thread_for_each_core_and_a_core_for_each_thread(name: str) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    places = {
        "GOMP_CPU_AFFINITY": " ".join(map(str, cores)),
        "OMP_PLACES": "{" + ",".join(map(str, cores)) + "}",
    }
    # As in a fork: OpenMP is there already when the variables are read.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    code = f"import os, torch\nos.environ[{name!r}] = {places[name]!r}" + BOUND
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["threads"] == len(cores)
    assert told["main"] == cores[:1]
    assert told["bound"] == [[core] for core in cores]


def test_the_engine_core_is_bound_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_CPU_AFFINITY", "OMP_PLACES"):
        monkeypatch.delenv(name, raising=False)
    before = os.sched_getaffinity(0)
    vllm_forks._bind_threads()
    assert os.sched_getaffinity(0) == before
