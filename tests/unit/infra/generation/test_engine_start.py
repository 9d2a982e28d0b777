"""Checks how long an engine is waited for; Ray is faked."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.exceptions import RayTaskError

from infra.cluster.session import Cluster
from infra.errors import ClusterError, ConfigError, EngineError, Problem
from infra.generation import engine_start
from infra.generation.engine_start import await_engine

GB = 10**9


class FakeWorld:
    """An engine that needs so many looks to start, and a clock that each of them moves by 10 s."""

    def __init__(self, looks: int, come: Callable[[int], tuple[int, int]]) -> None:
        self.looks, self.come = looks, come
        self.now = 0.0
        self.told: list[str] = []
        self.outcome: Any = "facts"

    def wait(self, flights: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if flights == ["start"]:
            self.now += timeout
            ready = self.now > self.looks * timeout
            return (flights, []) if ready else ([], flights)
        return flights, []

    def get(self, flight: Any) -> Any:
        if flight == "start":
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome
        return self.come(round(self.now / 10))

    def run(self, timeout_s: float) -> Any:
        config = SimpleNamespace(placement_timeout_s=timeout_s)
        cluster = SimpleNamespace(config=config, describe_free=lambda: "2 CPUs")
        engine = SimpleNamespace(measure_brought=SimpleNamespace(remote=lambda: "measure"))
        return await_engine(cast("Cluster", cluster), "m[0]", engine, "start", self.told.append)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeWorld]:
    def make(looks: int, come: Callable[[int], tuple[int, int]] = lambda _: (0, 0)) -> FakeWorld:
        made = FakeWorld(looks, come)
        monkeypatch.setattr(ray, "wait", made.wait)
        monkeypatch.setattr(ray, "get", made.get)
        monkeypatch.setattr(engine_start, "time", SimpleNamespace(monotonic=lambda: made.now))
        return made

    return make


def test_it_is_waited_for_until_the_time_is_up(world: Callable[..., FakeWorld]) -> None:
    assert world(5).run(60) == "facts"
    with pytest.raises(ClusterError, match=r"m\[0\] was not up after 60 s. Free .*2 CPUs"):
        world(7).run(60)


def test_the_clock_stands_still_while_its_model_comes(world: Callable[..., FakeWorld]) -> None:
    slow = world(30, lambda look: (min(look, 20) * GB, 20 * GB))
    assert slow.run(120) == "facts"
    assert slow.told[0] == "its model comes to its node: 1.0 of 20.0 GB" and len(slow.told) == 20
    assert slow.told[-1].endswith("20.0 of 20.0 GB")


def test_a_model_that_no_longer_comes_is_not_waited_for(world: Callable[..., FakeWorld]) -> None:
    stuck = world(100, lambda look: (min(look, 3) * GB, 20 * GB))
    with pytest.raises(ClusterError, match="not up after 120 s"):
        stuck.run(120)
    assert stuck.now == 30 + 130


def test_a_look_at_its_model_that_fails_does_not_end_its_start(
    world: Callable[..., FakeWorld],
) -> None:
    def come(look: int) -> tuple[int, int]:
        if look == 2:
            raise RayTaskError("measure_brought", "traceback", OSError("503"))
        return min(look, 4) * GB, 4 * GB

    loading = world(9, come)
    assert loading.run(60) == "facts"
    said = [text.removeprefix("its model comes to its node: ") for text in loading.told]
    assert said == ["1.0 of 4.0 GB", "3.0 of 4.0 GB", "4.0 of 4.0 GB"]


def test_what_its_start_raises_is_raised_as_what_it_is(world: Callable[..., FakeWorld]) -> None:
    for cause, kind in (
        (ConfigError(Problem("model", "is not there", "give one")), ConfigError),
        (EngineError("out of memory"), EngineError),
    ):
        failing = world(0)
        failing.outcome = RayTaskError("start", "traceback", cause)
        with pytest.raises(kind, match=str(cause).split(" ")[-1]):
            failing.run(60)
