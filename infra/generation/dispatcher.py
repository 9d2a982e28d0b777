"""Makes the pending rows of a stage: leases chunks to workers until every row is done.

Workers keep their windows full across chunks; the dispatcher keeps one chunk waiting behind each
window, takes back what dead engines and workers held, and moves the tail to idle workers. Of
workers whose chunks take longer than a second it hears each second what is finished so far.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import polars as pl

from infra.errors import InterruptedRun, RequestFailed
from infra.generation.engine_pool import Replica
from infra.generation.engine_talk import EngineTalk
from infra.generation.failure_reasons import count_reasons
from infra.generation.leases import FIRST_ROWS, Lease, LeaseBook
from infra.generation.min_yield import check_yield
from infra.generation.row_stage import RowStage, RunnerContext
from infra.generation.stage_counts import StageCounts
from infra.generation.stage_worker import ChunkReport, ChunkState, Job
from infra.progress import StageProgress
from infra.store.row_store import (
    MERGE_CHUNKS,
    MERGE_ROWS,
    find_pending,
    merge_chunks,
    read_committed,
)
from infra.tally import Tally

_TICK_S = 1.0
_ASK_EVERY_S = 1.0
_COMMIT_GRACE_S = 4.0
_MERGE_GRACE_S = 4.0
_GIVE_UP_S = 10.0
_EVERYTHING = 1 << 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A chunk on its way: who has it, since which restart and moment, and what it is called."""

    lease: Lease
    generation: int
    label: str
    lent: float


class Dispatcher:
    """One pass over the pending rows of a stage, on the engines of its model."""

    def __init__(
        self,
        stage: RowStage,
        context: RunnerContext,
        pending: pl.DataFrame,
        progress: StageProgress,
        replicas: list[Replica],
    ) -> None:
        self._ray = context.pool.cluster.ensure()
        self._stage, self._context, self._progress = stage, context, progress
        self._replicas = replicas
        progress.restart_clock()
        progress.pace.together = sum(replica.window for replica in replicas)
        self._rows = pending.sort("group", "key").drop("group").to_arrow()
        keys = self._rows.column("key").to_pylist()
        self._number = {key: index for index, key in enumerate(keys)}
        self._book = LeaseBook.divide(
            range(len(keys)), len(self._replicas), context.config.chunk_rows or FIRST_ROWS
        )
        self._job = self._ray.put(
            Job(
                storage=context.storage,
                folder=stage.node.folder,
                maker=stage.maker,
                options=stage.options,
                encoder=stage.encoder,
                commit_after_s=context.config.chunk_seconds,
            )
        )
        self._flights: dict[Any, _Flight] = {}
        self._open: dict[str, Lease] = {}
        self._counts = StageCounts()
        self._asked: dict[Any, int] = {}
        self._asked_since: dict[int, float] = {}
        self._patience_s = context.pool.patience_s(stage.model)
        self._heard = [time.monotonic()] * len(replicas)
        self._loose_parts: dict[str, int] = {}
        self.written: set[str] = set()
        """The parts that hold what was made, those merged into others left out."""
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="merge")
        self._merging: Future[None] | None = None
        self._landed = False
        self.talk = EngineTalk(self._replicas, context.pool.tell, context.allowance)

    def run(self) -> None:
        """Make every row; :class:`RequestFailed` if some stay pending after all others are done.

        Whatever ends it early, open rows get a while to finish and be committed, so that a retry
        finds no row of the last try still being made.
        """
        try:
            self.talk.begin()
            self._lend()
            while self._flights:
                for flight in self._await_news():
                    if flight in self._asked:
                        self._hear(flight)
                    else:
                        self._receive(flight)
                if self._context.stop.is_set():
                    self._stop()
                self._show()
                self._check_yield(self._counts.best_case())
                self._lend()
                self._steal_tail()
                self.talk.listen()
                self._end_silent()
                self._ask()
        except BaseException:
            if not self._landed:
                self._land()
            self._leave_merging()
            raise
        finally:
            self._merger.shutdown(wait=False)
            self.talk.listen(last=True)
        self._end_merging()
        failures = self._counts.failures
        if failures:
            reasons = count_reasons(failures.values())
            raise RequestFailed(
                f"{self._stage.node.stage}: {len(failures)} rows stay pending, commonest: "
                + "; ".join(f"{count} × {reason}" for reason, count in reasons)
            )

    def _await_news(self) -> list[Any]:
        """Wait for a chunk or an answer, a second at most; return all that are there by then."""
        flights = [*self._flights, *self._asked]
        done, _ = self._ray.wait(flights, num_returns=1, timeout=_TICK_S)
        if done:
            done, _ = self._ray.wait(flights, num_returns=len(flights), timeout=0)
        return list(done)

    def _lend(self) -> None:
        """Keep every worker's window covered, with one chunk waiting behind it.

        Who holds least comes first: a busy worker would else take rows that were moved from it.
        """
        book = self._book
        covers = [
            book.open_rows(index) - replica.window for index, replica in enumerate(self._replicas)
        ]
        while wanting := [index for index, size in enumerate(book.sizes) if covers[index] < size]:
            index = min(wanting, key=covers.__getitem__)
            lease = book.lend(index)
            if lease is None:
                return
            covers[index] += len(lease.rows)
            replica, rows = self._replicas[index], self._rows.take(lease.rows)
            label = uuid4().hex
            flight = replica.worker.run_chunk.remote(self._job, rows, label)
            self._flights[flight] = _Flight(lease, replica.generation, label, time.monotonic())
            self._open[label] = lease
            self._counts.open(label)

    def _ask(self) -> None:
        """Ask the workers of which nothing was heard for a second how far their chunks are."""
        now, folder = time.monotonic(), self._stage.node.folder
        busy = {flight.lease.worker for flight in self._flights.values()}
        for index in busy.difference(self._asked.values()):
            if now - self._heard[index] >= _ASK_EVERY_S:
                self._asked[self._replicas[index].worker.progress.remote(folder)] = index
                self._asked_since[index] = now

    def _end_silent(self) -> None:
        """Have workers killed that are alive and have not answered for long."""
        now = time.monotonic()
        for index in set(self._asked.values()):
            silent_s = now - self._asked_since[index]
            if silent_s > self._patience_s:
                self._asked_since[index] = now
                self._context.pool.end_silent(self._replicas[index], silent_s)

    def _hear(self, answer: Any) -> None:
        """Take in what a worker says of its open chunks; what is reported by now counts already."""
        from ray.exceptions import RayError

        index = self._asked.pop(answer)
        self._heard[index] = time.monotonic()
        with suppress(RayError):  # a worker that is lost says so by its chunks
            states: list[ChunkState] = self._ray.get(answer)
            for state in states:
                self._counts.hear(state)
                if state.label in self._open:
                    self._open[state.label].finished = state.tally.made + state.failed

    def _receive(self, flight: Any) -> None:
        from ray.exceptions import RayActorError

        chunk = self._flights.pop(flight)
        lease, generation = chunk.lease, chunk.generation
        replica = self._replicas[lease.worker]
        self._book.close(lease)
        self._open.pop(chunk.label)
        self._heard[lease.worker] = time.monotonic()
        try:
            report: ChunkReport = self._ray.get(flight)
        except RayActorError as error:
            self._take_back_uncommitted(chunk)
            self._restart(replica, generation, f"worker lost: {error}", worker_lost=True)
            return
        self._counts.close(chunk.label, report)
        whole = report.tally.made >= len(lease.rows)
        if whole and self._context.config.chunk_rows is None:
            self._book.fit(lease, self._heard[lease.worker] - chunk.lent)
        self._merge(report)
        self._check_yield(self._counts.reported)
        if report.fatal:
            raise RequestFailed(f"{self._stage.node.stage}: {report.fatal}", fatal=True)
        if report.unfinished:
            self._book.take_back(lease.worker, [self._number[key] for key in report.unfinished])
        if report.engine_lost:
            self._restart(replica, generation, report.engine_lost, worker_lost=False)

    def _restart(self, replica: Replica, generation: int, why: str, *, worker_lost: bool) -> None:
        self._context.pool.restart(replica, generation, why, worker_lost=worker_lost)

    def _take_back_uncommitted(self, chunk: _Flight) -> None:
        """Lease a dead worker's rows again, but for those committed before it could report."""
        lease = chunk.lease
        self._end_merging()
        committed = read_committed(self._context.storage, self._stage.node.folder)
        held = self._rows.take(lease.rows).select(["key", "parents_digest"]).to_pydict()
        lost = pl.DataFrame(held)
        todo = find_pending(lost, committed)["key"].to_list()
        self._book.take_back(lease.worker, [self._number[key] for key in todo])
        found = committed.join(lost, on=["key", "parents_digest"], how="semi")
        rejected = found.filter(pl.col("status") == "rejected")["reason"].to_list()
        self._counts.lose(chunk.label, found.height - len(rejected), Counter(rejected))

    def _merge(self, report: ChunkReport) -> None:
        """Have the parts that workers wrote merged once many have gathered; lending goes on.

        One part alone is as good as merged.
        """
        self._loose_parts |= {part.path: part.rows for part in report.parts}
        self.written.update(part.path for part in report.parts)
        if len(self._loose_parts) < 2:
            return
        many = len(self._loose_parts) >= MERGE_CHUNKS
        if (many or sum(self._loose_parts.values()) >= MERGE_ROWS) and self._may_merge():
            paths, self._loose_parts = list(self._loose_parts), {}
            self._merging = self._merger.submit(self._merge_parts, paths)

    def _may_merge(self) -> bool:
        """Wait for the merge under way; once the run is to stop, none is waited for or begun."""
        stop = self._context.stop
        while self._merging is not None and not stop.is_set():
            if wait([self._merging], _TICK_S).done:
                self._end_merging()
        return not stop.is_set()

    def _merge_parts(self, paths: list[str]) -> None:
        storage, folder = self._context.storage, self._stage.node.folder
        there = {stat.path for stat in storage.list(folder, ".parquet")}
        found = [path for path in paths if path in there]
        if len(found) > 1:
            merged = merge_chunks(storage, folder, found)
            self.written.difference_update(found)
            self.written.add(merged)

    def _end_merging(self) -> None:
        """Wait for the merge under way, if there is one, and raise what went wrong with it."""
        merging, self._merging = self._merging, None
        if merging is not None:
            merging.result()

    def _leave_merging(self) -> None:
        """Let a merge under way finish; the stage has an error of its own to end with.

        A stop waits a while only: merges are safe to leave at any point. Whoever tries the stage
        again would read parts that the merge removes.
        """
        merging, self._merging = self._merging, None
        if merging is None:
            return
        stage, stopped = self._stage.node.stage, self._context.stop.is_set()
        wait([merging], _MERGE_GRACE_S if stopped else None)
        if not merging.done():
            _log.warning("%s: parts are still being merged; the next run does it again", stage)
        elif (error := merging.exception()) is not None:
            _log.warning("%s: parts could not be merged: %s", stage, error)

    def _show(self) -> None:
        """Show every finished row, whether its chunk was reported yet or not."""
        counts, progress = self._counts, self._progress
        progress.update(counts.total())
        progress.begun, progress.failed = counts.running, counts.failed
        self._context.listener.stage_progress(progress, finished=False)

    def _check_yield(self, tally: Tally) -> None:
        if tally.made >= self._context.config.yield_check_rows:
            check_yield(
                self._stage.node.stage,
                self._stage.min_yield,
                accepted=tally.accepted,
                rows=tally.made,
                reasons=tally.reasons,
                samples=tally.samples,
                early=True,
            )

    def _steal_tail(self) -> None:
        """Move rows not begun from the busiest worker to an idle one once no row waits."""
        book = self._book
        if book.waiting or len(self._replicas) < 2:
            return
        idle = [index for index in range(len(self._replicas)) if book.open_rows(index) == 0]
        busy = book.busiest()
        if not idle or busy is None:
            return
        surplus = book.open_rows(busy) - self._replicas[busy].window
        if surplus > 0:
            given = self._ask_back(self._replicas[busy], -(-surplus // 2), self._patience_s)
            self._book.move(busy, [self._number[key] for key in given], to=idle[0])

    def _ask_back(self, replica: Replica, most: int, timeout_s: float) -> Iterable[str]:
        """Return keys a worker had not begun and gives back; none if it is gone or silent."""
        from ray.exceptions import RayError

        with suppress(RayError):
            folder = self._stage.node.folder
            asked = replica.worker.give_up.remote(folder, most)
            given: list[str] = self._ray.get(asked, timeout=timeout_s)
            return given
        return ()

    def _stop(self) -> None:
        """Take nothing new, let open rows finish for a while, commit them, and end the run."""
        goes_on, busy = self.talk.halt()
        for flight in self._land(wait=busy):
            self._receive(flight)
        self._show()
        progress = self._progress
        raise InterruptedRun(
            f"stopped in {self._stage.node.stage} at {progress.reused + progress.made:,} of "
            f"{progress.planned:,} rows; everything committed is kept"
            + (f"; {goes_on}" if goes_on else "")
        )

    def _land(self, *, wait: bool = True) -> list[Any]:
        """Begin no further row and wait for the open ones; return the flights that are done.

        What is finished is committed at once, in case nobody waits, and again after the wait
        where rows take longer than that.
        """
        self._landed = True
        for replica in self._replicas:
            self._ask_back(replica, _EVERYTHING, _GIVE_UP_S)
        if not self._flights:
            return []
        self._commit_finished()
        flights, grace_s = list(self._flights), self._context.config.stop_grace_s if wait else 0.0
        done, still_open = self._ray.wait(flights, num_returns=len(flights), timeout=grace_s)
        if still_open:
            calls = self._commit_finished()
            self._ray.wait(calls, num_returns=len(calls), timeout=_COMMIT_GRACE_S)
            self._hear_out()
        return list(done)

    def _commit_finished(self) -> list[Any]:
        """Tell the workers to commit what is finished of their open chunks."""
        folder = self._stage.node.folder
        return [replica.worker.commit.remote(folder) for replica in self._replicas]

    def _hear_out(self) -> None:
        """Hear from all workers how far their open chunks are."""
        folder = self._stage.node.folder
        self._asked = {
            replica.worker.progress.remote(folder): index
            for index, replica in enumerate(self._replicas)
        }
        asked = list(self._asked)
        told, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_COMMIT_GRACE_S)
        for answer in told:
            self._hear(answer)
