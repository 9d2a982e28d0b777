"""Speaks with one model in this process, piece by piece as the answer grows; needs no Ray.

Three kinds of speaker behind one protocol: vLLM in this process, an OpenAI-compatible endpoint,
and a scripted engine. :class:`SpeakerThread` hands them to code that is not asynchronous.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from infra.engines.config import ModelConfig
from infra.protocol import Completion, Engine, Piece, Request, Speaker
from infra.text.text_cleaning import PieceCleaner, remove_unreadable

T = TypeVar("T")


class WholeSpeaker:
    """Speaker made of an engine that only gives whole answers: it gives them a word at a time."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine, self._label = engine, label

    async def start(self) -> str:
        """Tell what answers; there is nothing to start."""
        return self._label

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Wait for the whole answer and give it out by word."""
        done = await self._engine.generate(request)
        words = done.text.split(" ")
        for place, word in enumerate(words):
            yield Piece(word if place == len(words) - 1 else f"{word} ")
            await asyncio.sleep(0)
        yield Piece("", done.finish_reason)

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        return await self._engine.generate(request)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


def open_speaker(config: ModelConfig) -> Speaker:
    """Return the speaker of a model; nothing starts before :meth:`Speaker.start`."""
    from infra.engines.opening import (
        endpoint_settings,
        open_remote_engine,
        read_endpoint_secrets,
    )

    if config.engine == "vllm":
        from infra.engines.vllm.forked_speaker import ForkedSpeaker
        from infra.engines.vllm.forks import can_fork
        from infra.engines.vllm.speaker import VllmSpeaker

        return ForkedSpeaker(config) if can_fork() else VllmSpeaker(config)
    if config.engine == "endpoint":
        from infra.engines.endpoint.speaker import EndpointSpeaker

        return EndpointSpeaker(endpoint_settings(config), *read_endpoint_secrets(config))
    return WholeSpeaker(open_remote_engine(config)(), f"scripted engine {config.model}")


class SpeakerThread:
    """Thread with an event loop of its own that runs a speaker, as a context manager.

    The caller's thread stays free for the keyboard: a ``KeyboardInterrupt`` in :meth:`stream`
    ends the answer and nothing else.
    """

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="speaker", daemon=True)
        self._abandoned = False

    def __enter__(self) -> SpeakerThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._abandoned:
            return
        with suppress(Exception):  # what it failed of was told already
            self.run(self.speaker.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> str:
        """Start the speaker, and return what answers.

        Loading in this process cannot be interrupted from within: an interrupt leaves it to end
        with the process.
        """
        try:
            return self.run(self.speaker.start())
        except KeyboardInterrupt:
            self._abandoned = True
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the speaker's loop; an interrupt of the wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stream(self, request: Request) -> Generator[Piece, None, None]:
        """Give out an answer piece by piece; leaving the loop early stops the engine's work."""
        pieces: queue.SimpleQueue[Piece | BaseException | None] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_pump(self.speaker, request, pieces), self._loop)
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            future.cancel()


async def clean_pieces(pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """Take out of an answer that comes in pieces what can be neither read nor encoded."""
    cleaner = PieceCleaner()
    async for piece in pieces:
        text = cleaner.clean(piece.text, last=piece.finish_reason is not None)
        yield replace(piece, text=text, reasoning=remove_unreadable(piece.reasoning))


async def _pump(
    speaker: Speaker, request: Request, pieces: queue.SimpleQueue[Piece | BaseException | None]
) -> None:
    try:
        async for piece in clean_pieces(speaker.stream(request)):
            pieces.put(piece)
    except Exception as error:
        pieces.put(error)
    finally:
        pieces.put(None)
