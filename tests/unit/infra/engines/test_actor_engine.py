"""Asks an actor that is played here: many requests in one call, many answers in another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from infra.engines.vllm import actor_engine
from infra.engines.vllm.actor_engine import ActorEngine
from infra.errors import EngineError, RequestFailed
from infra.protocol import Completion, Request, SamplingParams

PATIENCE_S = 600.0


class Remote:
    """Is a method of an actor."""

    def __init__(self, method: Any) -> None:
        self.remote = method


class Actor:
    """Answers what it was asked in capitals, unless told to do otherwise."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.fails: dict[str, EngineError] = {}
        self.breaks: Exception | None = None
        self._done: list[tuple[str, Completion | EngineError]] = []
        self.submit, self.collect = Remote(self._submit), Remote(self._collect)

    async def _submit(self, requests: Sequence[Request]) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.batches.append([request.request_id for request in requests])
        for name in self.batches[-1]:
            answer = Completion(name.upper(), "stop", 1, 1)
            self._done.append((name, self.fails.get(name, answer)))

    async def _collect(self) -> list[tuple[str, Completion | EngineError]]:
        await asyncio.sleep(0.005)
        if self.breaks is not None:
            raise self.breaks
        done, self._done = self._done, []
        return [("asked by nobody here", Completion("", "stop", 1, 1)), *done]


def ask(name: str) -> Request:
    return Request(name, (), (1,), SamplingParams(0.0, 1.0, 8))


def test_what_is_asked_together_goes_out_together_and_comes_back_to_who_asked() -> None:
    async def run() -> None:
        actor = Actor()
        engine = ActorEngine(actor, PATIENCE_S)
        answers = await asyncio.gather(*(engine.generate(ask(name)) for name in "abc"))
        assert [answer.text for answer in answers] == ["A", "B", "C"]
        assert actor.batches == [["a", "b", "c"]]
        assert (await engine.generate(ask("a"))).text == "A"  # once more, later
        assert actor.batches == [["a", "b", "c"], ["a"]]

    asyncio.run(run())


def test_a_request_that_fails_fails_alone() -> None:
    async def run() -> None:
        actor = Actor()
        actor.fails["b"] = RequestFailed("refused", fatal=True)
        engine = ActorEngine(actor, PATIENCE_S)
        first, second = await asyncio.gather(
            engine.generate(ask("a")), engine.generate(ask("b")), return_exceptions=True
        )
        assert isinstance(first, Completion) and first.text == "A"
        assert isinstance(second, RequestFailed) and second.fatal

    asyncio.run(run())


def test_one_request_cannot_be_open_twice() -> None:
    async def run() -> None:
        engine = ActorEngine(Actor(), PATIENCE_S)
        first = asyncio.create_task(engine.generate(ask("a")))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="a is open already"):
            await engine.generate(ask("a"))
        assert (await first).text == "A"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("broken", "kind", "told"),
    [
        (RayActorError(), EngineError, "the engine's process died"),
        (
            RayTaskError("submit", "out of memory", EngineError("out of memory")),
            EngineError,
            "out of memory",
        ),
        (RayTaskError("submit", "KeyError: x", KeyError("x")), RayTaskError, "KeyError: x"),
        (OSError("pipe"), OSError, "pipe"),
    ],
)
def test_a_dead_actor_fails_all_that_is_open(
    broken: Exception, kind: type[Exception], told: str
) -> None:
    async def run() -> None:
        actor = Actor()
        actor.breaks = broken
        engine = ActorEngine(actor, PATIENCE_S)
        found = await asyncio.gather(
            *(engine.generate(ask(name)) for name in "ab"), return_exceptions=True
        )
        for error in found:
            assert isinstance(error, kind) and told in str(error)
        actor.breaks = None  # it was started again
        assert (await engine.generate(ask("c"))).text == "C"

    asyncio.run(run())


def test_an_actor_that_stands_still_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_engine, "_COLLECT_S", 0.05)

    async def stand_still() -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        actor = Actor()
        actor.collect, answers = Remote(stand_still), actor.collect
        engine = ActorEngine(actor, 0.05)
        with pytest.raises(EngineError, match="its actor did not answer"):
            await engine.generate(ask("a"))
        actor.collect = answers  # it was started again
        assert (await engine.generate(ask("b"))).text == "B"

    asyncio.run(run())


def test_who_gives_up_waiting_leaves_no_trace() -> None:
    async def run() -> None:
        actor = Actor()
        engine = ActorEngine(actor, PATIENCE_S)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.generate(ask("a")), 0.001)
        assert (await engine.generate(ask("b"))).text == "B"
        assert not engine._open

    asyncio.run(run())
