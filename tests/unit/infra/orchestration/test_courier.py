"""Proves that news are told in order of their kinds, the newest only, and that nobody waits."""

from __future__ import annotations

import contextvars
import logging
import threading

import pytest

from infra.orchestration.courier import Courier

PATIENCE_S = 20.0
COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class News:
    """News whose teller waits at a gate, and remembers what was told where."""

    def __init__(self) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()
        self.told: list[str] = []

    def wait(self) -> None:
        self.reached.set()
        assert self.gate.wait(PATIENCE_S)
        self.told.append("slow")

    def tell(self, words: str) -> None:
        self.told.append(f"{words} {COLOUR.get()}")


def test_of_each_kind_the_newest_is_told_once_the_server_answers() -> None:
    courier, news = Courier(), News()
    courier.send("a", news.wait)
    assert news.reached.wait(PATIENCE_S)
    COLOUR.set("blue")
    for number in range(3):
        courier.send("b", lambda number=number: news.tell(f"b{number}"))  # type: ignore[misc]
    COLOUR.set("red")
    courier.send("c", lambda: news.tell("c"))
    assert not courier.flush(0.01)
    assert news.told == []
    news.gate.set()
    assert courier.flush(PATIENCE_S)
    assert news.told == ["slow", "b2 blue", "c red"]


def test_what_cannot_be_told_is_logged_once_and_the_next_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    courier, news = Courier(), News()

    def fail() -> None:
        raise ConnectionError("nobody answers")

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            courier.send("progress", fail)
            assert courier.flush(PATIENCE_S)
        courier.send("progress", lambda: news.tell("back"))
        assert courier.flush(PATIENCE_S)
        courier.send("progress", fail)
        assert courier.flush(PATIENCE_S)
    assert len(news.told) == 1
    assert [record.message for record in caplog.records] == [
        "progress is not shown in Prefect for now: nobody answers"
    ] * 2
