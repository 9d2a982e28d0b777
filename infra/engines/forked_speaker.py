"""Speaks through a vLLM engine whose processes are all forks, so that vLLM is imported once."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from infra.engines.config import ModelConfig
from infra.engines.protocol import Completion, Request
from infra.engines.socket_calls import SocketCalls, answer_calls
from infra.engines.streaming import Piece
from infra.engines.vllm_forks import EngineFork, ForkServer, start_fork
from infra.engines.vllm_speaker import QUIET, VllmSpeaker
from infra.errors import EngineError

_GRACE_S = 15


class ForkedSpeaker:
    """Does what :class:`VllmSpeaker` does, in a fork."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._forks: ForkServer | None = None
        self._process: EngineFork | None = None
        self._calls: SocketCalls | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Load the model; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        near, far = socket.socketpair()
        try:
            self._forks = ForkServer()
            with far:
                self._process, own = await asyncio.to_thread(
                    start_fork, self._forks.address, _serve, self._config, far
                )
            if own is not None:
                self._forks.close()
                self._forks = own
            self._calls = await SocketCalls.over(near)
            told: str = await self._calls.call("start", began)
        except BaseException:  # an interrupt too: nothing may be left that the process waits for
            near.close()
            self._close_forks()
            raise
        return told

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole."""
        answer: Completion = await self._connection().call("generate", request)
        return answer

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Answer one request in pieces, within what the context leaves."""
        calls = self._connection()
        try:
            await calls.call("begin", request)
            while True:
                for piece in await calls.call("take", request.request_id):
                    yield piece
                    if piece.finish_reason is not None:
                        return
        finally:
            # Whoever leaves early is not kept waiting.
            leaving = asyncio.create_task(_leave(calls, request.request_id))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Shut the engine down in order."""
        try:
            if self._calls is not None and self._process is not None:
                await self._calls.call("close")
                self._calls.close()
                await asyncio.to_thread(self._process.join, _GRACE_S)
        finally:
            self._close_forks()

    def _close_forks(self) -> None:
        if self._forks is not None:
            self._forks.close()

    def _connection(self) -> SocketCalls:
        if self._calls is None:
            raise EngineError(f"the engine of {self._config.model} was not started")
        return self._calls


async def _leave(calls: SocketCalls, request_id: str) -> None:
    with suppress(EngineError):  # that is gone, and the answer with it
        await calls.call("leave", request_id)


@dataclass
class _Answer:
    """Is an answer that grows: pieces that nobody has taken yet, and who makes them."""

    pieces: list[Piece] = field(default_factory=list)
    error: Exception | None = None
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    maker: asyncio.Task[None] | None = None


class _Desk:
    """Is what the speaker's process calls: pieces wait here until they are taken."""

    def __init__(self, speaker: VllmSpeaker) -> None:
        self._speaker = speaker
        self._open: dict[str, _Answer] = {}
        self.start, self.generate, self.close = speaker.start, speaker.generate, speaker.close

    async def begin(self, request: Request) -> None:
        """Begin an answer."""
        answer = self._open[request.request_id] = _Answer()
        answer.maker = asyncio.create_task(self._make(request, answer))

    async def take(self, request_id: str) -> list[Piece]:
        """Return what an answer has grown by, once it has; raise what ended it otherwise."""
        answer = self._open[request_id]
        await answer.grown.wait()
        answer.grown.clear()
        taken, answer.pieces = answer.pieces, []
        if answer.error is not None and not taken:
            raise answer.error
        if answer.error is not None:
            answer.grown.set()
        return taken

    async def leave(self, request_id: str) -> None:
        """Forget an answer, and stop it if it still grows."""
        answer = self._open.pop(request_id, None)
        if answer is not None and answer.maker is not None:
            answer.maker.cancel()

    async def _make(self, request: Request, answer: _Answer) -> None:
        try:
            async for piece in self._speaker.stream(request):
                answer.pieces.append(piece)
                answer.grown.set()
        except Exception as error:
            answer.error = error
            answer.grown.set()


def _serve(config: ModelConfig, end: socket.socket) -> None:
    """Be the frontend."""
    import setproctitle

    setproctitle.setproctitle("VLLM::Speaker")
    asyncio.run(_answer_calls(config, end))


async def _answer_calls(config: ModelConfig, end: socket.socket) -> None:
    await answer_calls(_Desk(VllmSpeaker(config)), end)
