"""Proves that answers come in deltas, can be stopped, and that stopping stops the engine's work."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from infra.engines.config import ModelConfig
from infra.engines.streaming import StreamingThread, WordByWord, open_streaming_engine
from infra.errors import EngineError, PromptTooLong
from infra.protocol import Completion, Delta, Message, Request, SamplingParams


def ask(text: str = "hello") -> Request:
    return Request("r", (Message("user", text),), None, SamplingParams(0.0, 1.0, 400))


class Endless:
    """Speaks until it is stopped, and says that it was."""

    def __init__(self, fails_after: int = 0) -> None:
        self.fails_after = fails_after
        self.closed = False
        self.stopped = threading.Event()

    async def start(self) -> str:
        return "endless"

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        said = 0
        try:
            while True:
                said += 1
                yield Delta(f"{said} ")
                await asyncio.sleep(0.001)
                if said == self.fails_after:
                    raise EngineError("gone")
        finally:
            self.stopped.set()

    async def generate(self, request: Request) -> Completion:
        raise PromptTooLong("never fits")

    async def close(self) -> None:
        self.closed = True


def test_leaving_an_answer_early_stops_it_and_the_next_one_works() -> None:
    engine = Endless()
    with StreamingThread(engine) as thread:
        assert thread.start() == "endless"
        for _ in range(2):
            engine.stopped.clear()
            with closing(thread.stream(ask())) as deltas:
                heard = [next(deltas).text for _ in range(3)]
            assert heard == ["1 ", "2 ", "3 "]
            assert engine.stopped.wait(2)
    assert engine.closed


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Hear SIGINT, which a shell's background jobs ignore, and all that they start."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_of_the_wait_ends_the_answer(ctrl_c: None) -> None:
    engine = Endless()
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    with StreamingThread(engine) as thread:
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt), closing(thread.stream(ask())) as deltas:
            for _ in deltas:
                pass
        assert time.monotonic() - began < 2
        assert engine.stopped.wait(2)
    timer.join()


class Loading(Endless):
    """Takes for ever to start, as a large model does."""

    async def start(self) -> str:
        await asyncio.sleep(600)
        return "late"


def test_loading_can_be_interrupted_at_once(ctrl_c: None) -> None:
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    began = time.monotonic()
    timer.start()
    engine = Loading()
    with pytest.raises(KeyboardInterrupt), StreamingThread(engine) as thread:
        thread.start()
    assert time.monotonic() - began < 2 and engine.closed
    timer.join()


def test_an_engine_that_fails_is_heard_up_to_there() -> None:
    heard: list[str] = []
    with StreamingThread(Endless(fails_after=2)) as thread:
        with pytest.raises(EngineError, match="gone"):
            heard.extend(delta.text for delta in thread.stream(ask()))
        with pytest.raises(PromptTooLong):
            thread.run(thread.engine.generate(ask()))


def test_a_scripted_engine_speaks_in_words() -> None:
    engine = open_streaming_engine(ModelConfig(engine="scripted", model="script"))
    assert isinstance(engine, WordByWord)
    with StreamingThread(engine) as thread:
        assert thread.start() == "scripted engine script"
        deltas = list(thread.stream(ask()))
        whole = thread.run(engine.generate(ask()))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert len(deltas) > 2
    assert [delta.finish_reason for delta in deltas][-1] == "stop"
