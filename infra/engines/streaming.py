"""Speaks with one model, delta by delta as the answer grows; needs no Ray.

A model of this machine is served to this process alone, so that there is one way to speak with
what is served: as an OpenAI-compatible endpoint. :class:`StreamingThread` hands engines to code
that is not asynchronous.
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
from infra.protocol import Completion, Delta, Engine, Request, StreamingEngine
from infra.text.text_cleaning import DeltaCleaner, remove_unreadable

T = TypeVar("T")


class WordByWord:
    """Streaming engine of one that only gives whole answers: it gives them a word at a time."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine, self._label = engine, label

    async def start(self) -> str:
        """Tell what answers; there is nothing to start."""
        return self._label

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Wait for the whole answer and give it out by word."""
        done = await self._engine.generate(request)
        words = done.text.split(" ")
        for place, word in enumerate(words):
            yield Delta(word if place == len(words) - 1 else f"{word} ")
            await asyncio.sleep(0)
        yield Delta("", done.finish_reason)

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        return await self._engine.generate(request)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


def open_streaming_engine(config: ModelConfig) -> StreamingEngine:
    """Return what streams a model's answers; nothing starts before its ``start``."""
    from infra.engines.opening import (
        endpoint_settings,
        open_remote_engine,
        read_endpoint_secrets,
    )

    if config.engine == "vllm":
        from infra.engines.vllm.served_model import ServedModel

        return ServedModel(config)
    if config.engine == "endpoint":
        from infra.engines.endpoint.streaming_endpoint import StreamingEndpoint

        return StreamingEndpoint(endpoint_settings(config), *read_endpoint_secrets(config))
    return WordByWord(open_remote_engine(config)(), f"scripted engine {config.model}")


class StreamingThread:
    """Thread with an event loop of its own that runs a streaming engine, as a context manager.

    The caller's thread stays free for the keyboard: a ``KeyboardInterrupt`` in :meth:`stream`
    ends the answer and nothing else.
    """

    def __init__(self, engine: StreamingEngine) -> None:
        self.engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stream", daemon=True)

    def __enter__(self) -> StreamingThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # what it failed of was told already
            self.run(self.engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> str:
        """Start the engine, and return what answers."""
        return self.run(self.engine.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the thread's loop; an interrupt of the wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stream(self, request: Request) -> Generator[Delta, None, None]:
        """Give out an answer delta by delta; leaving the loop early stops the engine's work."""
        deltas: queue.SimpleQueue[Delta | BaseException | None] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_pump(self.engine, request, deltas), self._loop)
        try:
            while (delta := deltas.get()) is not None:
                if isinstance(delta, BaseException):
                    raise delta
                yield delta
        finally:
            future.cancel()


async def clean_deltas(deltas: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
    """Take out of an answer that comes in deltas what can be neither read nor encoded."""
    cleaner = DeltaCleaner()
    async for delta in deltas:
        text = cleaner.clean(delta.text, last=delta.finish_reason is not None)
        yield replace(delta, text=text, reasoning=remove_unreadable(delta.reasoning))


async def _pump(
    engine: StreamingEngine,
    request: Request,
    deltas: queue.SimpleQueue[Delta | BaseException | None],
) -> None:
    try:
        async for delta in clean_deltas(engine.stream(request)):
            deltas.put(delta)
    except Exception as error:
        deltas.put(error)
    finally:
        deltas.put(None)
