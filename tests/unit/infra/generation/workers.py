"""Builds what a worker needs in tests: a maker, an engine with gates, jobs and chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import polars as pl
import pyarrow as pa

from infra.errors import Reject
from infra.generation.asking import AskOptions, RowSession
from infra.generation.stage_worker import ChunkReport, Job
from infra.protocol import Completion, Message, Request
from infra.store.row_store import read_committed
from infra.store.storage import Storage
from tests.unit.infra.nodes import NODE, Note

T = TypeVar("T")
WINDOW = 4
OPTIONS = AskOptions(temperature=0.7, top_p=0.9, max_new_tokens=50, max_attempts=2, seed=0)


@dataclass(frozen=True, slots=True)
class Question:
    key: str
    text: str


@dataclass(frozen=True)
class Echo:
    """Takes any answer but "bad"; a text of "bug" breaks the maker itself."""

    inputs: ClassVar[type[Question]] = Question
    record: ClassVar[type[Note]] = Note
    parents: ClassVar[tuple[str, ...]] = ("text",)

    async def make(self, key: str, row: Question, session: RowSession) -> Note | Reject:
        if row.text == "bug":
            raise ZeroDivisionError("a bug in the maker")
        answer = await session.ask([Message("user", row.text)], read_answer)
        return answer if isinstance(answer, Reject) else Note(key, answer)


def read_answer(completion: Completion) -> str | Reject:
    return Reject("bad", "said bad") if completion.text == "bad" else completion.text


class GatedEngine:
    """Answers a request with its own text when its gate opens; open gates are the default."""

    def __init__(self, *shut: str, errors: dict[str, Exception] | None = None) -> None:
        self._gates = {text: asyncio.Event() for text in shut}
        self._errors = errors or {}
        self.open = self.most_open = 0
        self.begun: list[str] = []
        self.closed = False

    async def generate(self, request: Request) -> Completion:
        text = request.messages[-1].content
        self.begun.append(text)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(0)
            if text in self._gates:
                await self._gates[text].wait()
            if text in self._errors:
                raise self._errors[text]
            return Completion(text, "stop", 10, 5, 4)
        finally:
            self.open -= 1

    def release(self, *texts: str) -> None:
        for text in texts or tuple(self._gates):
            self._gates[text].set()

    async def close(self) -> None:
        self.closed = True


def make_job(storage: Storage, commit_after_s: float = 3600.0, folder: str = NODE.folder) -> Job:
    return Job(storage, folder, Echo(), OPTIONS, None, commit_after_s)


def make_chunk(*texts: str) -> pa.Table:
    return pa.table(
        {
            "key": [f"k-{text}" for text in texts],
            "parents_digest": ["d"] * len(texts),
            "text": list(texts),
        }
    )


def number(first: int, last: int) -> list[str]:
    return [f"{index:02d}" for index in range(first, last)]


def run(main: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(main, timeout=20)

    return asyncio.run(bounded())


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


def list_stored(storage: Storage) -> list[str]:
    """Return the keys in all parts that lie in the store, in whatever order, doubles and all."""
    return [
        key
        for stat in storage.list(NODE.folder, ".parquet")
        for key in pl.read_parquet(storage.url(stat.path))["key"].to_list()
    ]


async def await_rows(storage: Storage, least: int) -> set[str]:
    """Wait until so many rows are on disk; the caller bounds how long."""
    while True:
        keys = set(read_committed(storage, NODE.folder)["key"])
        if len(keys) >= least:
            return keys
        await asyncio.sleep(0.01)


def list_written(storage: Storage, report: ChunkReport) -> list[str]:
    """Return the keys in the parts of a report, in whatever order, doubles and all."""
    return [
        key
        for part in report.parts
        for key in pl.read_parquet(storage.url(part.path))["key"].to_list()
    ]
