"""Checks what a forked engine process must make up for; the forks themselves: tests/e2e."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from multiprocessing import forkserver

import pytest

from infra.engines import vllm_forks

BOUND = """
import json, os
from infra.engines.vllm_forks import _bind_threads
_bind_threads()
import torch
own = [tuple(os.sched_getaffinity(int(name))) for name in os.listdir("/proc/self/task")]
print(json.dumps({
    "threads": torch.get_num_threads(),
    "main": tuple(os.sched_getaffinity(os.getpid())),
    "bound": sorted(cores for cores in own if len(cores) == 1),
}))
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes what is loaded before all else wherever a fork server would have been started."""
    found: list[str] = []
    monkeypatch.setattr(
        forkserver, "ensure_running", lambda: found.append(os.environ["LD_PRELOAD"])
    )
    monkeypatch.setattr(forkserver, "set_forkserver_preload", lambda names: None)
    monkeypatch.setattr(vllm_forks, "version", lambda name: "2.13.0+cpu")
    return found


@pytest.mark.parametrize("given", [None, "/usr/lib/libtcmalloc.so"])
def test_openmp_is_loaded_first_in_the_fork_server_and_nowhere_else(
    given: str | None, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if given:
        monkeypatch.setenv("LD_PRELOAD", given)
    assert vllm_forks.start_fork_server()
    (libraries,) = started
    assert "libgomp" in libraries and libraries.startswith(given or "")
    assert os.environ.get("LD_PRELOAD") == given


def test_on_gpus_and_with_intels_openmp_vllm_spawns_as_it_does(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/intel/libiomp5.so")
    assert not vllm_forks.start_fork_server()
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setattr(vllm_forks, "version", lambda name: "2.13.0+cu130")
    assert not vllm_forks.start_fork_server()
    assert started == []


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
