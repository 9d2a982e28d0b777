"""Proves that answers come in pieces, can be stopped, and that stopping stops the engine's work."""

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
from infra.engines.streaming import SpeakerThread, WholeSpeaker, open_speaker
from infra.errors import EngineError, PromptTooLong
from infra.protocol import Completion, Message, Piece, Request, SamplingParams


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

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        said = 0
        try:
            while True:
                said += 1
                yield Piece(f"{said} ")
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
    speaker = Endless()
    with SpeakerThread(speaker) as thread:
        assert thread.start() == "endless"
        for _ in range(2):
            speaker.stopped.clear()
            with closing(thread.stream(ask())) as pieces:
                heard = [next(pieces).text for _ in range(3)]
            assert heard == ["1 ", "2 ", "3 "]
            assert speaker.stopped.wait(2)
    assert speaker.closed


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Hear SIGINT, which a shell's background jobs ignore, and all that they start."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_of_the_wait_ends_the_answer(ctrl_c: None) -> None:
    speaker = Endless()
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    with SpeakerThread(speaker) as thread:
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt), closing(thread.stream(ask())) as pieces:
            for _ in pieces:
                pass
        assert time.monotonic() - began < 2
        assert speaker.stopped.wait(2)
    timer.join()


class Loading(Endless):
    """Takes for ever to start, as a large model does."""

    async def start(self) -> str:
        time.sleep(3)  # as loading does: the loop stands still
        return "late"


def test_loading_can_be_interrupted_at_once(ctrl_c: None) -> None:
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt), SpeakerThread(Loading()) as thread:
        thread.start()
    assert time.monotonic() - began < 2
    timer.join()


def test_an_engine_that_fails_is_heard_up_to_there() -> None:
    heard: list[str] = []
    with SpeakerThread(Endless(fails_after=2)) as thread:
        with pytest.raises(EngineError, match="gone"):
            heard.extend(piece.text for piece in thread.stream(ask()))
        with pytest.raises(PromptTooLong):
            thread.run(thread.speaker.generate(ask()))


def test_a_scripted_engine_speaks_in_words() -> None:
    speaker = open_speaker(ModelConfig(engine="scripted", model="script"))
    assert isinstance(speaker, WholeSpeaker)
    with SpeakerThread(speaker) as thread:
        assert thread.start() == "scripted engine script"
        pieces = list(thread.stream(ask()))
        whole = thread.run(speaker.generate(ask()))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert len(pieces) > 2
    assert [piece.finish_reason for piece in pieces][-1] == "stop"
