"""Proves when a worker commits finished rows, and that each lies in one part."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa
import pytest

from infra.errors import RequestFailed
from infra.generation import stage_worker
from infra.generation.stage_worker import ChunkReport, ChunkState, Job, StageWorker
from infra.store.row_store import commit_chunk, read_committed
from infra.store.storage import Storage
from tests.unit.infra.generation.workers import (
    WINDOW,
    GatedEngine,
    await_rows,
    list_stored,
    list_written,
    make_chunk,
    make_job,
    number,
    run,
    settle,
)
from tests.unit.infra.nodes import NODE


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
