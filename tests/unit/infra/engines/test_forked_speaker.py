"""Streams through the two ends of a forked speaker; with a real engine: tests/e2e."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm import forked_speaker
from infra.engines.vllm.forked_speaker import ForkedSpeaker
from infra.engines.vllm.socket_calls import SocketCalls, answer_calls
from infra.errors import PromptTooLong
from infra.protocol import Piece, Request, SamplingParams


class Reciter:
    """Is a speaker that says numbers, and stumbles at one if told so."""

    def __init__(self, stumbles_at: int | None = None, error: Exception | None = None) -> None:
        self._stumbles_at, self._error = stumbles_at, error
        self.stopped: list[str] = []

    start = generate = close = None

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Say so many numbers."""
        try:
            for number in range(request.sampling.max_new_tokens):
                if number == self._stumbles_at:
                    assert self._error is not None
                    raise self._error
                yield Piece(str(number))
                await asyncio.sleep(0)
            yield Piece("", "stop")
        finally:
            self.stopped.append(request.request_id)


def ask(request_id: str, numbers: int) -> Request:
    return Request(request_id, (), (1, 2), SamplingParams(0.0, 1.0, numbers))


@asynccontextmanager
async def speaking(reciter: Reciter) -> AsyncIterator[ForkedSpeaker]:
    """A forked speaker whose other end is in this process."""
    near, far = socket.socketpair()
    desk: Any = forked_speaker._Desk(reciter)  # type: ignore[arg-type]
    answering = asyncio.create_task(answer_calls(desk, far))
    speaker = ForkedSpeaker(ModelConfig(model="none"))
    calls = speaker._desk._calls = await SocketCalls.over(near)
    try:
        yield speaker
    finally:
        await calls.close()
        await answering


def test_answers_come_whole_and_in_order_side_by_side() -> None:
    async def recite(speaker: ForkedSpeaker, name: str) -> list[Piece]:
        return [piece async for piece in speaker.stream(ask(name, 200))]

    async def run() -> None:
        reciter = Reciter()
        async with speaking(reciter) as speaker:
            answers = await asyncio.gather(*(recite(speaker, name) for name in "abc"))
        wanted = [*(Piece(str(number)) for number in range(200)), Piece("", "stop")]
        assert answers == [wanted] * 3
        assert sorted(reciter.stopped) == ["a", "b", "c"]

    asyncio.run(run())


@pytest.mark.parametrize("said", [0, 3])
def test_an_error_comes_after_what_was_said_before_it(said: int) -> None:
    async def run() -> None:
        async with speaking(Reciter(said, PromptTooLong("too long"))) as speaker:
            heard = []
            with pytest.raises(PromptTooLong, match="too long"):
                async for piece in speaker.stream(ask("a", 10)):
                    heard.append(piece)
            assert [piece.text for piece in heard] == [str(number) for number in range(said)]

    asyncio.run(run())


def test_whoever_leaves_early_stops_the_answer() -> None:
    async def run() -> None:
        reciter = Reciter()
        async with speaking(reciter) as speaker:
            stream = speaker.stream(ask("a", 10**9))
            assert (await anext(stream)).text == "0"
            await stream.aclose()  # type: ignore[attr-defined]
            for _ in range(100):
                if reciter.stopped:
                    break
                await asyncio.sleep(0.02)
            assert reciter.stopped == ["a"]

    asyncio.run(run())
