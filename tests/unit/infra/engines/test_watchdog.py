"""Checks when an engine that is alive is taken for frozen, and that one which works never is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm import server
from infra.engines.vllm.server import VllmServer
from infra.engines.watchdog import Watchdog
from infra.errors import EngineError
from infra.protocol import Completion, Request, SamplingParams


class Clock:
    """Is a clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_silence_while_somebody_waits_counts() -> None:
    clock = Clock()
    dog = Watchdog(10.0, clock)
    for now, signs, waiting in ((9, 0, True), (50, 0, False), (59, 0, True), (61, 1, True)):
        clock.now = now
        dog.look(signs, waiting=waiting)
    clock.now = 71.0
    dog.look(1, waiting=True)
    clock.now = 72.0
    with pytest.raises(EngineError, match="no sign of life for 11 s"):
        dog.look(1, waiting=True)


def test_who_begins_to_wait_after_a_long_rest_has_all_the_time() -> None:
    clock = Clock()
    dog = Watchdog(10.0, clock)
    dog.look(0, waiting=False)
    clock.now = 1000.0
    dog.begin()
    clock.now = 1009.0
    dog.look(0, waiting=True)


class Slow(VllmServer):
    """An engine whose answers never end, with as many tokens as it is given."""

    def __init__(self) -> None:
        super().__init__(ModelConfig(model="none", stall_timeout_s=0.2))
        self.tokens: list[int] = [0]
        state = SimpleNamespace(
            detokenizer=SimpleNamespace(num_output_tokens=lambda: self.tokens[0])
        )
        engine: Any = SimpleNamespace(output_processor=SimpleNamespace(request_states={"a": state}))
        self._engine = engine

    async def generate(self, request: Request) -> Completion:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("works", [True, False])
def test_an_engine_is_alive_as_long_as_open_answers_grow(
    works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_POLL_S", 0.05)

    async def run() -> None:
        slow = Slow()
        sampling = SamplingParams(temperature=0.0, top_p=1.0, max_new_tokens=400)
        await slow.submit([Request("a", (), (1,), sampling)])
        for _ in range(10):
            slow.tokens[0] += works
            assert await slow.collect() == []

    if works:
        asyncio.run(run())
    else:
        with pytest.raises(EngineError, match="not one token"):
            asyncio.run(run())
