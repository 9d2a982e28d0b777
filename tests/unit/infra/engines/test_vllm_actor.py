"""Proves when an engine waits for its GPU's memory; engines themselves start in tests/e2e."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm import actor as vllm_actor
from infra.engines.vllm.actor import VllmActor
from infra.engines.vllm.server import EngineFacts, VllmServer
from infra.errors import ClusterError

FACTS = EngineFacts("0.32.0", "H100", 0, 8192, 400_000, 1024, 60.0)


@pytest.fixture
def awaited(monkeypatch: pytest.MonkeyPatch) -> list[float | str]:
    """What happens when an engine starts: the share of memory that is awaited, and the start."""
    order: list[float | str] = []

    async def start(self: VllmServer) -> EngineFacts:
        order.append("started")
        return FACTS

    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    for name in ("VLLM_NO_USAGE_STATS", "OPENCHARACTER_ENGINE_PARENT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that what the actor sets is undone
    monkeypatch.setattr(VllmServer, "start", start)
    monkeypatch.setattr(vllm_actor, "can_fork", lambda: False)
    monkeypatch.setattr(vllm_actor, "await_gpu_memory", lambda share, _: order.append(share))
    return order


def start(**knobs: Any) -> EngineFacts:
    return asyncio.run(VllmActor(ModelConfig(model="/m", **knobs)).start())


@pytest.mark.parametrize(
    ("knobs", "share"),
    [
        ({}, 0.9),
        ({"gpu_memory_utilization": 0.4}, 0.4),
        ({"engine_args": {"gpu_memory_utilization": 0.3}}, 0.3),
    ],
)
def test_an_engine_on_a_gpu_waits_for_what_it_will_take(
    knobs: dict[str, Any],
    share: float,
    awaited: list[float | str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_actor, "is_cpu_build", lambda: False)
    assert start(**knobs) == FACTS
    assert awaited == [share, "started"]


def test_memory_that_stays_held_keeps_it_from_starting(
    awaited: list[float | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(share: float, todo: str) -> None:
        raise ClusterError(f"held by process 7; {todo}")

    monkeypatch.setattr(vllm_actor, "is_cpu_build", lambda: False)
    monkeypatch.setattr(vllm_actor, "await_gpu_memory", refuse)
    with pytest.raises(ClusterError, match="process 7; lower gpu_memory_utilization"):
        start()
    assert awaited == []


def test_an_engine_on_cpus_waits_for_nobody(
    awaited: list[float | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_actor, "is_cpu_build", lambda: True)
    start()
    assert awaited == ["started"]
