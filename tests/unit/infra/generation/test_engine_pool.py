"""Checks where the pool has Ray put an engine's worker, and when; Ray is faked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.cluster.session import Cluster, RayConfig
from infra.context import Quiet
from infra.engines.config import ModelConfig
from infra.engines.vllm.actor import VllmActor
from infra.engines.vllm.server import EngineFacts
from infra.generation import engine_pool
from infra.generation.engine_pool import EnginePool, Replica
from infra.generation.stage_worker import StageWorker

NODE, ELSEWHERE = "ab" * 28, "cd" * 28
FACTS = EngineFacts("0", "cpu", 2, 2048, 40_000, 16, 1.0, spare_cores=(1,), node=NODE)


class FakeActor:
    """Takes every call, and keeps what it was called and with what."""

    def __init__(self, made_of: type, options: dict[str, Any]) -> None:
        self.made_of, self.options = made_of, options
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *told: self.calls.append((name, *told)))

    def find(self, name: str) -> list[tuple[Any, ...]]:
        """Return what a method was called with."""
        return [call[1:] for call in self.calls if call[0] == name]


class FakeWorld:
    """A Ray of so many nodes, and a pool on it whose engines come up where they are said to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, nodes: int = 2, alone: bool = False):
        self.actors: list[FakeActor] = []
        self.events: list[str] = []
        self.nodes_there, self.facts = nodes, FACTS
        cluster = SimpleNamespace(
            ensure=lambda: self,
            is_alone=alone,
            config=RayConfig(address=None if alone else "10.0.0.1:6379"),
            devices=lambda: SimpleNamespace(on_gpus=False),
            probe_newcomers=lambda: self.events.append("newcomers probed"),
        )

        def await_engine(*_: Any) -> EngineFacts:
            self.events.append("engine up")
            return self.facts

        monkeypatch.setattr(engine_pool, "await_engine", await_engine)
        monkeypatch.setattr(engine_pool, "can_fork", lambda: False)
        monkeypatch.setattr(EnginePool, "_hand_over_log", lambda *_: None)
        monkeypatch.setattr(EnginePool, "_kill", lambda *_: None)
        config = ModelConfig(model="/models/some", engine="vllm")
        self.pool = EnginePool(cast("Cluster", cluster), {"teacher": config}, Quiet())

    def remote(self, made_of: type) -> Any:
        def make(options: dict[str, Any]) -> Any:
            def open_actor(*_: Any) -> FakeActor:
                self.events.append(f"{made_of.__name__} asked for")
                self.actors.append(FakeActor(made_of, options))
                return self.actors[-1]

            return SimpleNamespace(remote=open_actor)

        return SimpleNamespace(options=lambda **options: make(options))

    def nodes(self) -> list[dict[str, Any]]:
        one = {"NodeID": NODE, "NodeManagerHostname": "one", "Resources": {}, "Alive": True}
        return [one] * self.nodes_there

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def wait(self, flights: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return flights, []

    def get(self, flight: Any) -> Any:
        return flight

    def open(self) -> Replica:
        (replica,) = self.pool.replicas("teacher")
        return replica

    def find(self, made_of: type) -> list[FakeActor]:
        return [actor for actor in self.actors if actor.made_of is made_of]


def check_near(actor: FakeActor, node: str) -> None:
    """An actor is wanted on a node; one that is full or gone is no reason to wait."""
    placed = actor.options["scheduling_strategy"]
    assert placed.node_id == node
    assert placed.soft and placed._spill_on_unavailable


def test_on_several_machines_a_worker_comes_to_its_engine_s_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = FakeWorld(monkeypatch)
    replica = world.open()
    (worker,), (engine,) = world.find(StageWorker), world.find(VllmActor)
    assert (replica.worker, replica.engine) == (worker, engine)
    check_near(worker, NODE)
    assert engine.options["scheduling_strategy"] == "SPREAD"
    assert worker.find("keep_to") == [((1,),)]
    assert world.events == [
        *("VllmActor asked for", "engine up", "StageWorker asked for", "newcomers probed"),
    ]


@pytest.mark.parametrize("alone", [True, False])
def test_on_one_machine_a_worker_starts_beside_its_engine(
    monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    world = FakeWorld(monkeypatch, nodes=1, alone=alone)
    world.open()
    assert world.events[:3] == ["VllmActor asked for", "StageWorker asked for", "engine up"]
    (worker,) = world.find(StageWorker)
    assert "scheduling_strategy" not in worker.options
    assert worker.find("keep_to") == [((1,),)]


def test_an_engine_that_died_comes_back_to_its_worker_if_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = FakeWorld(monkeypatch)
    replica = world.open()
    world.facts = replace(FACTS, node=ELSEWHERE)
    world.pool.restart(replica, 0, "gone", worker_lost=False)
    (worker,), (_, engine) = world.find(StageWorker), world.find(VllmActor)
    check_near(engine, NODE)
    assert (replica.worker, replica.engine, replica.node) == (worker, engine, NODE)
    # The new engine's spare cores are those of another machine.
    assert worker.find("keep_to") == [((1,),)]


def test_with_its_worker_an_engine_may_begin_anew_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld(monkeypatch)
    replica = world.open()
    world.facts = replace(FACTS, node=ELSEWHERE)
    world.pool.restart(replica, 0, "gone", worker_lost=True)
    (_, worker), (_, engine) = world.find(StageWorker), world.find(VllmActor)
    assert engine.options["scheduling_strategy"] == "SPREAD"
    check_near(worker, ELSEWHERE)
    assert (replica.worker, replica.node, replica.generation) == (worker, ELSEWHERE, 1)
