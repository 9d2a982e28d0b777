"""Proves when vLLM's processes are forks, and that a fork's threads are bound as OpenMP would."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from infra.cluster.torch_build import TorchBuild
from infra.engines.vllm import forking
from infra.engines.vllm.forking import bind_threads, can_fork

BOUND = """
import json, os
from infra.engines.vllm.forking import bind_threads
bind_threads()
import torch
own = [tuple(os.sched_getaffinity(int(name))) for name in os.listdir("/proc/self/task")]
print(json.dumps({
    "threads": torch.get_num_threads(),
    "main": tuple(os.sched_getaffinity(os.getpid())),
    "bound": sorted(cores for cores in own if len(cores) == 1),
}))
"""


@pytest.mark.parametrize("places", ["cores", "0-3", "{0,1},{2,3}"])
def test_notations_that_people_use_bind_nothing(
    places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_CPU_AFFINITY", raising=False)
    monkeypatch.setenv("OMP_PLACES", places)
    before = os.sched_getaffinity(0)
    bind_threads()
    assert os.sched_getaffinity(0) == before


def test_on_gpus_and_with_intels_openmp_vllm_spawns_as_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forking, "read_torch_build", lambda: TorchBuild("2.13.0", "cpu"))
    assert can_fork()
    monkeypatch.setenv("LD_PRELOAD", "/opt/intel/libiomp5.so")
    assert not can_fork()
    monkeypatch.delenv("LD_PRELOAD")
    gpu = TorchBuild("2.13.0", "cuda", "13.0")
    monkeypatch.setattr(forking, "read_torch_build", lambda: gpu)
    assert not can_fork()


@pytest.mark.torch
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
    bind_threads()
    assert os.sched_getaffinity(0) == before
