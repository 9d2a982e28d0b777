"""Speaks through a vLLM engine whose processes are all forks, so that vLLM is imported once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from infra.engines.config import ModelConfig
from infra.engines.vllm.forked_object import ForkedObject
from infra.engines.vllm.speaker import QUIET, VllmSpeaker
from infra.errors import EngineError
from infra.protocol import Completion, Piece, Request

_TITLE = "VLLM::Speaker"


class ForkedSpeaker:
    """Stand-in for a :class:`VllmSpeaker` in a fork."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._desk = ForkedObject(f"the engine of {config.model}")
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Load the model; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            await self._desk.start(_TITLE, _open_desk, self._config)
            told: str = await self._desk.call("start", began)
        except BaseException:  # an interrupt too, and nobody closes a speaker that did not start
            await self._desk.kill()
            raise
        return told

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole."""
        answer: Completion = await self._desk.call("generate", request)
        return answer

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Answer one request in pieces, within what the context leaves."""
        try:
            await self._desk.call("begin", request)
            while True:
                for piece in await self._desk.call("take", request.request_id):
                    yield piece
                    if piece.finish_reason is not None:
                        return
        finally:
            # Whoever leaves early is not kept waiting.
            leaving = asyncio.create_task(self._leave(request.request_id))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Shut the engine down in order."""
        await self._desk.close("close")

    async def _leave(self, request_id: str) -> None:
        with suppress(EngineError):  # that is gone, and the answer with it
            await self._desk.call("leave", request_id)


@dataclass
class _Answer:
    """Answer that grows: pieces that nobody has taken yet, and who makes them."""

    pieces: list[Piece] = field(default_factory=list)
    error: Exception | None = None
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    maker: asyncio.Task[None] | None = None


class _Desk:
    """What the speaker's process calls: pieces wait here until they are taken."""

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


def _open_desk(config: ModelConfig) -> _Desk:
    return _Desk(VllmSpeaker(config))
