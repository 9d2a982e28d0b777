"""Proves how a worker keeps its window, commits chunks, hands rows back and survives an engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import polars as pl
import pyarrow as pa
import pytest

from infra.errors import EngineError, Reject, RequestFailed
from infra.generation import stage_worker
from infra.generation.asking import AskOptions, RowSession
from infra.generation.stage_worker import ChunkReport, ChunkState, Job, StageWorker, _make_row
from infra.protocol import Completion, Message, Request
from infra.store.row_store import commit_chunk, read_committed, read_part_rows
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


@pytest.fixture(autouse=True)
def _stay_in_the_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker leaves the terminal's process group; the test process must not."""
    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    yield


@pytest.fixture
def job(storage: Storage) -> Job:
    return make_job(storage)


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


def test_a_chunk_is_made_committed_and_reported(storage: Storage, job: Job) -> None:
    async def main() -> ChunkReport:
        worker = StageWorker(GatedEngine, WINDOW)
        return await worker.run_chunk(job, make_chunk("a", "bad", "b"))

    report = run(main())
    tally = report.tally
    assert (tally.accepted, tally.rejected, tally.reasons) == (2, 1, {"bad": 1})
    assert sorted(report.keys) == ["k-a", "k-b", "k-bad"]
    assert tally.requests == 4
    assert (tally.prompt_tokens, tally.cached_tokens, tally.completion_tokens) == (40, 16, 20)
    assert tally.samples == ("bad: said bad\n---\nbad",)
    assert (report.unfinished, report.failed, report.fatal, report.engine_lost) == ((), {}, "", "")
    assert [note.text for note in read_part_rows(storage, NODE.folder, Note)] == ["a", "b"]
    part = pl.read_parquet(f"{storage.root}/{report.parts[0].path}")
    assert sorted(part["parents"].to_list()) == [["a"], ["b"], ["bad"]]


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
        report = await worker.run_chunk(job, make_chunk("c", "d"))
        assert report.tally.made == 2
        # What its neighbour has finished by then goes along: no part of its own for that.
        assert set(read_committed(storage, NODE.folder)["key"]) == {"k-b", "k-c", "k-d"}
        engine.release()
        await slow

    run(main())
    assert read_committed(storage, NODE.folder).height == 4


def test_finished_rows_of_an_open_chunk_are_committed_in_time(storage: Storage) -> None:
    """A slow row holds up no other: the others are on disk while it is still being made."""

    async def main() -> tuple[set[str], ChunkReport]:
        engine = GatedEngine("slow")
        worker = StageWorker(lambda: engine, WINDOW)
        slow = make_job(storage, commit_after_s=0.05)
        flight = asyncio.create_task(worker.run_chunk(slow, make_chunk("a", "bad", "slow", "b")))
        early = await await_rows(storage, 3)
        assert not flight.done()
        engine.release()
        return early, await flight

    early, report = run(main())
    assert early == {"k-a", "k-bad", "k-b"}
    assert [part.rows for part in report.parts] == [3, 1]
    assert (report.tally.accepted, report.tally.rejected) == (3, 1)
    rows = list_written(storage, report)
    assert sorted(rows) == ["k-a", "k-b", "k-bad", "k-slow"]


def test_what_is_committed_in_time_is_one_part_for_all_open_chunks_of_a_stage(
    storage: Storage,
) -> None:
    async def main() -> list[ChunkReport]:
        engine = GatedEngine("x", "y", "z")
        worker = StageWorker(lambda: engine, 9)
        job, other = make_job(storage, 0.2), make_job(storage, 3600.0, "others/recipe")
        flights = [
            asyncio.create_task(worker.run_chunk(job, make_chunk("a", "x"))),
            asyncio.create_task(worker.run_chunk(job, make_chunk("b", "y"))),
            asyncio.create_task(worker.run_chunk(other, make_chunk("c", "z"))),
        ]
        assert await await_rows(storage, 2) == {"k-a", "k-b"}
        assert read_committed(storage, "others/recipe").is_empty()
        engine.release()
        return await asyncio.gather(*flights)

    reports = run(main())
    parts = [part for report in reports[:2] for part in report.parts]
    assert len({part.path for part in parts}) == len(parts) <= 3
    assert sorted(part.rows for part in parts)[-1] == 2
    assert sum(part.rows for part in parts) == 4
    assert [part.rows for part in reports[2].parts] == [2]


def test_a_fast_engine_writes_no_more_parts_than_it_has_chunks(job: Job) -> None:
    async def main() -> list[ChunkReport]:
        worker = StageWorker(GatedEngine, WINDOW)
        chunks = [make_chunk(*number(first, first + 8)) for first in range(0, 64, 8)]
        return await asyncio.gather(*(worker.run_chunk(job, chunk) for chunk in chunks))

    reports = run(main())
    parts = [part for report in reports for part in report.parts]
    assert len(parts) <= len(reports)
    assert sum(part.rows for part in parts) == 64 == sum(report.tally.made for report in reports)


def test_an_open_chunk_tells_what_is_finished_before_it_is_committed(
    storage: Storage, job: Job
) -> None:
    async def main() -> tuple[list[ChunkState], list[ChunkState], list[ChunkState]]:
        engine = GatedEngine("slow", "b", errors={"b": RequestFailed("HTTP 500")})
        worker = StageWorker(lambda: engine, 3)
        flight = asyncio.create_task(
            worker.run_chunk(job, make_chunk("a", "slow", "bad", "b", "c"), "first")
        )
        await settle()
        before = await worker.progress(NODE.folder)
        engine.release("b")
        await settle()
        after = await worker.progress(NODE.folder)
        assert await worker.progress("another/stage") == []
        engine.release()
        await flight
        return before, after, await worker.progress(NODE.folder)

    (before,), (after,), at_last = run(main())
    assert (before.label, before.running, before.failed) == ("first", 2, 0)
    assert (before.tally.accepted, before.tally.rejected, before.tally.requests) == (2, 1, 4)
    assert before.tally.completion_tokens == 20
    assert (after.running, after.failed) == (1, 1)
    assert at_last == []


def test_told_to_commit_a_worker_writes_what_is_finished_at_once(
    storage: Storage, job: Job
) -> None:
    async def main() -> None:
        engine = GatedEngine("slow")
        worker = StageWorker(lambda: engine, WINDOW)
        flight = asyncio.create_task(worker.run_chunk(job, make_chunk("a", "slow")))
        await settle()
        await worker.commit(NODE.folder)
        assert set(read_committed(storage, NODE.folder)["key"]) == {"k-a"}
        await worker.commit(NODE.folder)
        engine.release()
        assert [part.rows for part in (await flight).parts] == [1, 1]

    run(main())


def test_rows_that_could_not_be_written_are_written_by_the_next_commit(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for a while costs no row, and ends no chunk that is still open."""
    away = asyncio.Event()
    tries: list[int] = []

    def stumble(store: Storage, folder: str, table: pa.Table) -> Any:
        tries.append(table.num_rows)
        if not away.is_set():
            raise OSError("the disk is away")
        return commit_chunk(store, folder, table)

    monkeypatch.setattr(stage_worker, "commit_chunk", stumble)
    monkeypatch.setattr(stage_worker, "_SECOND_TRY_S", 0.01)

    async def main() -> ChunkReport:
        engine = GatedEngine("slow")
        worker = StageWorker(lambda: engine, WINDOW)
        job = make_job(storage, commit_after_s=0.01)
        flight = asyncio.create_task(worker.run_chunk(job, make_chunk("a", "b", "slow")))
        while len(tries) < 2:
            await asyncio.sleep(0.005)
        away.set()
        assert await await_rows(storage, 2) == {"k-a", "k-b"}
        engine.release()
        return await flight

    report = run(main())
    assert tries[0] == 2
    assert sum(part.rows for part in report.parts) == 3 == report.tally.made


def test_a_part_whose_write_got_no_answer_is_tried_again_as_it_was(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be there: written together with later rows, its own would be there twice."""
    answers = iter([False])
    tried = asyncio.Event()

    def lose_answer(store: Storage, folder: str, table: pa.Table) -> Any:
        part = commit_chunk(store, folder, table)
        if not next(answers, True):
            tried.set()
            raise OSError("no answer")
        return part

    monkeypatch.setattr(stage_worker, "commit_chunk", lose_answer)
    monkeypatch.setattr(stage_worker, "_SECOND_TRY_S", 0.05)

    async def main() -> ChunkReport:
        engine = GatedEngine("next", "slow")
        worker = StageWorker(lambda: engine, WINDOW)
        job = make_job(storage, commit_after_s=0.01)
        flight = asyncio.create_task(worker.run_chunk(job, make_chunk("a", "next", "slow")))
        await tried.wait()
        engine.release("next")
        await await_rows(storage, 2)
        engine.release()
        return await flight

    report = run(main())
    assert sorted(list_written(storage, report)) == ["k-a", "k-next", "k-slow"]
    assert sorted(list_stored(storage)) == ["k-a", "k-next", "k-slow"]


def test_what_a_try_could_not_write_is_no_part_of_the_next(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next makes again what it does not find; from then on the rows are its own."""
    tries = iter([False])

    def fail_once(store: Storage, folder: str, table: pa.Table) -> Any:
        if not next(tries, True):
            raise OSError("the disk is away")
        return commit_chunk(store, folder, table)

    monkeypatch.setattr(stage_worker, "commit_chunk", fail_once)

    async def main() -> ChunkReport:
        worker = StageWorker(lambda: GatedEngine(), WINDOW)
        with pytest.raises(OSError, match="away"):
            await worker.run_chunk(make_job(storage), make_chunk("a", "b"))
        return await worker.run_chunk(make_job(storage), make_chunk("a", "b", "c"))

    report = run(main())
    assert list_stored(storage) == list_written(storage, report) == ["k-a", "k-b", "k-c"]


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
    assert reports[1].parts == ()
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
    assert report.tally.accepted == WINDOW
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
    assert [part.rows for part in (*first.parts, *second.parts)] == [2]
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
    assert (again.tally.accepted, again.engine_lost) == (1, "")


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
    assert (report.tally.accepted, report.unfinished) == (1, ("k-c",))


def test_an_empty_chunk_ends_at_once(job: Job) -> None:
    async def main() -> ChunkReport:
        return await StageWorker(GatedEngine, 1).run_chunk(job, make_chunk().cast(EMPTY))

    assert run(main()).parts == ()


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

    job = Job(storage, "notes/x", Escaped(), OPTIONS, None, 3600.0)
    rows = [{"key": text, "parents_digest": "d", "text": text} for text in ("odd", "good")]

    async def main() -> list[str]:
        made = [await _make_row(job, GatedEngine(), row) for row in rows]
        return [row.envelope.reason for row in made]

    assert asyncio.run(main()) == ["unreadable_text", ""]
