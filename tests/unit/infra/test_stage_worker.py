"""Proves how a worker keeps its window, commits chunks, hands rows back and survives an engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
import pytest

from infra.asking import AskOptions, RowSession
from infra.engines.protocol import Completion, Message, Request
from infra.errors import EngineError, Reject, RequestFailed
from infra.row_store import read_committed, read_part_rows
from infra.stage_worker import ChunkReport, Job, StageWorker
from infra.storage import Storage

from .nodes import NODE, Note

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


@pytest.fixture(autouse=True)
def _stay_in_the_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker leaves the terminal's process group; the test process must not."""
    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    yield


@pytest.fixture
def job(storage: Storage) -> Job:
    return Job(storage, NODE.folder, Echo(), OPTIONS, None)


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


def test_a_chunk_is_made_committed_and_reported(storage: Storage, job: Job) -> None:
    async def main() -> ChunkReport:
        worker = StageWorker(GatedEngine, WINDOW)
        return await worker.run_chunk(job, make_chunk("a", "bad", "b"))

    report = run(main())
    assert (report.accepted, report.rejected, report.reasons) == (2, 1, {"bad": 1})
    assert sorted(report.keys) == ["k-a", "k-b", "k-bad"]
    assert report.requests == 4
    assert (report.prompt_tokens, report.cached_tokens, report.completion_tokens) == (40, 16, 20)
    assert report.samples == ("bad: said bad\n---\nbad",)
    assert (report.unfinished, report.failed, report.fatal, report.engine_lost) == ((), {}, "", "")
    assert report.part is not None
    assert report.part.rows == 3
    assert [note.text for note in read_part_rows(storage, NODE.folder, Note)] == ["a", "b"]


def test_the_window_is_kept_full_across_chunks_and_never_exceeded(job: Job) -> None:
    async def main() -> GatedEngine:
        engine = GatedEngine("00")
        worker = StageWorker(lambda: engine, WINDOW)
        chunks = [number(0, 6), number(6, 12), number(12, 18)]
        flights = [asyncio.create_task(worker.run_chunk(job, make_chunk(*c))) for c in chunks]
        await settle()
        assert sorted(engine.begun) == number(0, 18)  # a slow row holds up no other chunk
        assert engine.open == 1
        done, _ = await asyncio.wait(flights, timeout=5, return_when="FIRST_COMPLETED")
        assert flights[0] not in done
        engine.release()
        await asyncio.gather(*flights)
        return engine

    engine = run(main())
    assert engine.most_open == WINDOW
    assert engine.begun == number(0, 18)


def test_a_window_is_resized_once_the_engine_says_what_it_takes(job: Job) -> None:
    async def main() -> list[int]:
        engine = GatedEngine(*number(0, 12))
        worker = StageWorker(lambda: engine, 1)
        flight = asyncio.create_task(worker.run_chunk(job, make_chunk(*number(0, 12))))
        open_rows = []
        for window in (1, 5, 2):  # a smaller one takes nothing back
            await worker.resize(window)
            await settle()
            open_rows.append(engine.open)
        engine.release()
        await flight
        return open_rows

    assert run(main()) == [1, 5, 5]


def test_a_finished_chunk_is_committed_while_another_is_open(storage: Storage, job: Job) -> None:
    async def main() -> None:
        engine = GatedEngine("a")
        worker = StageWorker(lambda: engine, WINDOW)
        slow = asyncio.create_task(worker.run_chunk(job, make_chunk("a", "b")))
        await worker.run_chunk(job, make_chunk("c", "d"))
        assert set(read_committed(storage, NODE.folder)["key"]) == {"k-c", "k-d"}
        engine.release()
        await slow

    run(main())
    assert read_committed(storage, NODE.folder).height == 4


def test_rows_not_begun_are_given_up_youngest_first(storage: Storage, job: Job) -> None:
    async def main() -> tuple[list[str], list[ChunkReport], list[str]]:
        texts = number(0, 12)
        engine = GatedEngine(*texts)
        worker = StageWorker(lambda: engine, WINDOW)
        flights = [
            asyncio.create_task(worker.run_chunk(job, make_chunk(*texts[:6]))),
            asyncio.create_task(worker.run_chunk(job, make_chunk(*texts[6:]))),
        ]
        await settle()
        other = await worker.give_up("another/stage", 99)
        assert other == []
        given = await worker.give_up(NODE.folder, 7)
        engine.release()
        return given, await asyncio.gather(*flights), engine.begun

    given, reports, begun = run(main())
    assert given == [f"k-{text}" for text in ["11", "10", "09", "08", "07", "06", "05"]]
    assert begun == number(0, 5)
    assert [len(report.keys) for report in reports] == [5, 0]
    assert reports[1].part is None
    assert all(report.unfinished == () for report in reports)
    assert read_committed(storage, NODE.folder).height == 5


def test_stopping_gives_up_everything_that_has_not_begun(job: Job) -> None:
    async def main() -> tuple[list[str], ChunkReport]:
        texts = number(0, 10)
        engine = GatedEngine(*texts)
        worker = StageWorker(lambda: engine, WINDOW)
        flight = asyncio.create_task(worker.run_chunk(job, make_chunk(*texts)))
        await settle()
        given = await worker.give_up(NODE.folder, 1 << 40)
        engine.release()
        return given, await flight

    given, report = run(main())
    assert len(given) == 6
    assert report.accepted == WINDOW
    assert not set(given) & set(report.keys)


def test_a_lost_engine_commits_what_is_finished_and_reports_the_rest(
    storage: Storage, job: Job
) -> None:
    async def main() -> list[ChunkReport]:
        engine = GatedEngine("02", "03", errors={"02": EngineError("died"), "03": EngineError("x")})
        worker = StageWorker(lambda: engine, 2)
        flights = [
            asyncio.create_task(worker.run_chunk(job, make_chunk(*number(0, 6)))),
            asyncio.create_task(worker.run_chunk(job, make_chunk(*number(6, 9)))),
        ]
        await settle()
        engine.release()
        return await asyncio.gather(*flights)

    first, second = run(main())
    assert sorted(first.keys) == ["k-00", "k-01"]
    assert sorted(first.unfinished) == ["k-02", "k-03", "k-04", "k-05"]
    assert sorted(second.unfinished) == ["k-06", "k-07", "k-08"]
    assert first.engine_lost
    assert second.engine_lost
    assert second.part is None
    assert first.failed == second.failed == {}
    assert set(read_committed(storage, NODE.folder)["key"]) == {"k-00", "k-01"}


def test_after_a_restart_the_worker_goes_on_with_the_new_engine(job: Job) -> None:
    async def main() -> tuple[ChunkReport, ChunkReport]:
        worker = StageWorker(lambda: GatedEngine(errors={"a": EngineError("died")}), WINDOW)
        lost = await worker.run_chunk(job, make_chunk("a"))
        await worker.reopen(GatedEngine)
        return lost, await worker.run_chunk(job, make_chunk("a"))

    lost, again = run(main())
    assert (lost.unfinished, lost.engine_lost) == (("k-a",), "died")
    assert (again.accepted, again.engine_lost) == (1, "")


def test_a_failed_request_leaves_its_row_pending_and_the_others_go_on(
    storage: Storage, job: Job
) -> None:
    async def main() -> ChunkReport:
        engine = GatedEngine(errors={"b": RequestFailed("HTTP 500")})
        return await StageWorker(lambda: engine, 1).run_chunk(job, make_chunk("a", "b", "c"))

    report = run(main())
    assert report.failed == {"k-b": "HTTP 500"}
    assert report.fatal == ""
    assert set(read_committed(storage, NODE.folder)["key"]) == {"k-a", "k-c"}


def test_a_fatal_failure_begins_no_further_row(storage: Storage, job: Job) -> None:
    async def main() -> tuple[ChunkReport, list[str]]:
        engine = GatedEngine(errors={"b": RequestFailed("HTTP 401", fatal=True)})
        report = await StageWorker(lambda: engine, 1).run_chunk(job, make_chunk("a", "b", "c", "d"))
        return report, engine.begun

    report, begun = run(main())
    assert begun == ["a", "b"]
    assert report.fatal == "HTTP 401"
    assert report.unfinished == ("k-c", "k-d")
    assert set(read_committed(storage, NODE.folder)["key"]) == {"k-a"}


def test_a_bug_in_a_maker_ends_the_chunk_and_names_itself(job: Job) -> None:
    async def main() -> ChunkReport:
        return await StageWorker(GatedEngine, 1).run_chunk(job, make_chunk("a", "bug", "c"))

    report = run(main())
    assert report.fatal == "ZeroDivisionError: a bug in the maker"
    assert (report.accepted, report.unfinished) == (1, ("k-c",))


def test_an_empty_chunk_ends_at_once(job: Job) -> None:
    async def main() -> ChunkReport:
        return await StageWorker(GatedEngine, 1).run_chunk(job, make_chunk().cast(EMPTY))

    assert run(main()).part is None


EMPTY = pa.schema([(name, pa.string()) for name in ("key", "parents_digest", "text")])


def test_closing_closes_the_engine(job: Job) -> None:
    async def main() -> GatedEngine:
        engine = GatedEngine()
        await StageWorker(lambda: engine, 1).close()
        return engine

    assert run(main()).closed


def test_text_that_no_file_can_hold_is_one_reject(storage: Storage) -> None:
    class Escaped(Echo):
        async def make(self, key: str, row: Question, session: RowSession) -> Note | Reject:
            made = await super().make(key, row, session)
            return Note(key, "half \ud83d") if row.text == "odd" else made

    from infra.stage_worker import _make_row

    job = Job(storage, "notes/x", Escaped(), OPTIONS, None)
    rows = [{"key": text, "parents_digest": "d", "text": text} for text in ("odd", "good")]

    async def main() -> list[str]:
        made = [await _make_row(job, GatedEngine(), row) for row in rows]
        return [row.envelope.reason for row in made]

    assert asyncio.run(main()) == ["unreadable_text", ""]
