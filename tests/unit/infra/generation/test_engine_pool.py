"""Checks where the pool has Ray put an engine's worker, and when; Ray is faked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.cluster.session import Cluster, RayConfig
from infra.context import Quiet
from infra.engines.config import ModelConfig
from infra.engines.vllm.actor import VllmActor
from infra.engines.vllm.server import EngineFacts
from infra.generation import engine_pool
from infra.generation.engine_pool import EnginePool
from infra.generation.stage_worker import StageWorker

FACTS = EngineFacts("0", "cpu", 2, 2048, 40_000, 16, 1.0, spare_cores=(1,))


class FakeActor:
    """Answers every method by its name, and keeps what it was asked."""

    def __init__(self, made_of: type, options: dict[str, Any], events: list[str]) -> None:
        self.made_of, self.options, self.events = made_of, options, events
        events.append(f"{made_of.__name__} asked for")

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *_: f"{self.made_of.__name__}.{name}")


class FakeRay:
    """Makes fake actors; an engine says that it stands on a node of its own."""

    def __init__(self) -> None:
        self.actors: list[FakeActor] = []
        self.events: list[str] = []

    def remote(self, made_of: type) -> Any:
        def make(options: dict[str, Any]) -> Any:
            def open_actor(*_: Any) -> FakeActor:
                self.actors.append(FakeActor(made_of, options, self.events))
                return self.actors[-1]

            return SimpleNamespace(remote=open_actor)

        return SimpleNamespace(options=lambda **options: make(options))

    def get(self, flight: str) -> str:
        assert flight == "VllmActor.find_node"
        return "ab" * 28

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def wait(self, flights: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return flights, []

    def find(self, made_of: type) -> FakeActor:
        (found,) = (actor for actor in self.actors if actor.made_of is made_of)
        return found


def open_replica(monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> FakeRay:
    """Open the one replica of a model of ours; return the Ray that was asked."""
    ray = FakeRay()
    cluster = SimpleNamespace(
        ensure=lambda: ray,
        is_alone=alone,
        config=RayConfig(address=None if alone else "10.0.0.1:6379"),
        devices=lambda: SimpleNamespace(on_gpus=False),
        probe_newcomers=lambda: ray.events.append("newcomers probed"),
    )

    def await_engine(*_: Any) -> EngineFacts:
        ray.events.append("engine up")
        return FACTS

    monkeypatch.setattr(engine_pool, "await_engine", await_engine)
    monkeypatch.setattr(engine_pool, "can_fork", lambda: False)
    monkeypatch.setattr(EnginePool, "_hand_over_log", lambda *_: None)
    config = ModelConfig(model="/models/some", engine="vllm")
    pool = EnginePool(cast("Cluster", cluster), {"teacher": config}, Quiet())
    (replica,) = pool.replicas("teacher")
    assert replica.worker is ray.find(StageWorker)
    return ray


def test_on_several_machines_a_worker_comes_to_its_engine_s_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = open_replica(monkeypatch, alone=False)
    placed = ray.find(StageWorker).options["scheduling_strategy"]
    assert placed.node_id == "ab" * 28
    # A node that is full or gone is no reason to wait.
    assert placed.soft and placed._spill_on_unavailable
    assert ray.events == [
        *("VllmActor asked for", "engine up", "StageWorker asked for", "newcomers probed"),
    ]
    assert ray.find(VllmActor).options["scheduling_strategy"] == "SPREAD"


def test_on_one_machine_a_worker_starts_beside_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = open_replica(monkeypatch, alone=True)
    assert ray.events == ["VllmActor asked for", "StageWorker asked for", "engine up"]
    assert "scheduling_strategy" not in ray.find(StageWorker).options
