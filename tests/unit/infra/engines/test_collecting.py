"""Checks how long an engine keeps finished answers back, to hand over several at once."""

from __future__ import annotations

import asyncio

import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm import server
from infra.engines.vllm.server import VllmServer
from infra.protocol import Completion, Request, SamplingParams

_SAMPLING = SamplingParams(temperature=0.0, top_p=1.0, max_new_tokens=4, seed=0)


class HeldServer(VllmServer):
    """An engine of two sequences at once whose answers wait until they are let go."""

    def __init__(self) -> None:
        super().__init__(ModelConfig(model="none"))
        self._enough = self._batch = 2
        self.gates = {str(number): asyncio.Event() for number in range(6)}

    async def generate(self, request: Request) -> Completion:
        await self.gates[request.request_id].wait()
        return Completion("text", "stop", 1, 1, 0)


def ask(*names: str) -> list[Request]:
    return [Request(name, (), (1,), _SAMPLING) for name in names]


async def collect_while(held: HeldServer) -> asyncio.Task[list[str]]:
    """Begin to collect, let one answer go, and give it the time that a short wait takes."""

    async def collect() -> list[str]:
        return [name for name, _ in await held.collect()]

    collecting = asyncio.create_task(collect())
    held.gates["0"].set()
    await asyncio.sleep(0.1)
    return collecting


def test_with_more_than_a_batch_and_an_eighth_answers_wait_for_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_LINGER_S", 0.01)
    monkeypatch.setattr(server, "_LONG_LINGER_S", 600.0)

    async def check() -> None:
        held = HeldServer()
        await held.submit(ask(*"012345"))
        collecting = await collect_while(held)
        assert not collecting.done()
        held.gates["1"].set()
        assert sorted(await collecting) == ["0", "1"]

    asyncio.run(check())


@pytest.mark.parametrize("names", ["01", "0123"])
def test_else_they_hardly_wait(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINGER_S", 0.01)
    monkeypatch.setattr(server, "_LONG_LINGER_S", 600.0)

    async def check() -> None:
        held = HeldServer()
        await held.submit(ask(*names))
        collecting = await collect_while(held)
        assert await asyncio.wait_for(collecting, 60) == ["0"]

    asyncio.run(check())
