"""Proves how a worker keeps its window, hands rows back and survives an engine."""

from __future__ import annotations

import asyncio

import polars as pl
import pyarrow as pa

from infra.errors import EngineError, Reject, RequestFailed
from infra.generation.asking import RowSession
from infra.generation.stage_worker import ChunkReport, Job, StageWorker, _make_row
from infra.store.row_store import read_committed, read_part_rows
from infra.store.storage import Storage
from tests.unit.infra.generation.workers import (
    OPTIONS,
    WINDOW,
    Echo,
    GatedEngine,
    Question,
    make_chunk,
    number,
    run,
    settle,
)
from tests.unit.infra.nodes import NODE, Note


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
