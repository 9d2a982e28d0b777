"""Calls an object over a real socket: answers, errors, many at a time, and an end that goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.engines.vllm.socket_calls import SocketCalls, answer_calls
from infra.errors import EngineError, RequestFailed


class Target:
    """Is what is called."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def double(self, data: bytes) -> bytes:
        """Return more than a socket holds."""
        return data * 2

    async def wait(self) -> str:
        """Wait for another call."""
        await self.go.wait()
        return "waited"

    async def release(self) -> None:
        """Let the other call go on."""
        self.go.set()

    async def refuse(self, fatal: bool) -> None:
        """Fail as engines do, or otherwise."""
        raise RequestFailed("no", fatal=True) if fatal else KeyError("unforeseen")


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[SocketCalls, asyncio.Task[None]]]:
    near, far = socket.socketpair()
    answering = asyncio.create_task(answer_calls(Target(), far))
    calls = await SocketCalls.over(near)
    try:
        yield calls, answering
    finally:
        await calls.close()
        await asyncio.gather(answering, return_exceptions=True)


def test_calls_overlap_and_large_ones_arrive_whole() -> None:
    async def run() -> None:
        async with connected() as (calls, _):
            waiting = asyncio.create_task(calls.call("wait"))
            data = bytes(range(256)) * 20_000
            answers = await asyncio.gather(*(calls.call("double", data) for _ in range(8)))
            assert answers == [data * 2] * 8
            assert not waiting.done()
            await calls.call("release")
            assert await waiting == "waited"

    asyncio.run(run())


def test_errors_of_engines_stay_what_they_are_and_others_are_none_of_theirs() -> None:
    async def run() -> None:
        async with connected() as (calls, _):
            with pytest.raises(RequestFailed, match="no") as raised:
                await calls.call("refuse", True)
            assert raised.value.fatal
            with pytest.raises(RuntimeError, match="unforeseen"):
                await calls.call("refuse", False)

    asyncio.run(run())


def test_whoever_waits_hears_that_the_other_end_is_gone() -> None:
    async def run() -> None:
        async with connected() as (calls, answering):
            waiting = asyncio.create_task(calls.call("wait"))
            await asyncio.sleep(0.05)
            answering.cancel()
            with pytest.raises(EngineError, match="died"):
                await waiting
            with pytest.raises(EngineError, match="gone"):
                await calls.call("double", b"")

    asyncio.run(run())
