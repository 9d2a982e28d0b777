"""Makes the pending rows of a stage: leases chunks to workers until every row is done.

Workers keep their windows full across chunks; the campaign keeps one chunk waiting behind each
window, takes back what dead engines and workers held, and moves the tail to idle workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import polars as pl

from infra.engine_pool import Replica
from infra.engine_talk import EngineTalk
from infra.errors import InterruptedRun, RequestFailed
from infra.failure_reasons import count_reasons
from infra.leases import Lease, LeaseBook
from infra.min_yield import check_yield
from infra.progress import StageProgress
from infra.row_stage import RowStage, RunnerContext
from infra.row_store import MERGE_CHUNKS, find_pending, merge_chunks, read_committed
from infra.stage_worker import ChunkReport, Job

_TICK_S = 1.0
_EVERYTHING = 1 << 40


class Campaign:
    """Is one pass over the pending rows of a stage, on the engines of its model."""

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
        self._rows = pending.sort("group", "key").drop("group").to_arrow()
        keys = self._rows.column("key").to_pylist()
        self._number = {key: index for index, key in enumerate(keys)}
        self._book = LeaseBook.divide(
            range(len(keys)), len(self._replicas), context.config.chunk_rows
        )
        self._job = self._ray.put(
            Job(
                storage=context.storage,
                folder=stage.node.folder,
                maker=stage.maker,
                options=stage.options,
                encoder=stage.encoder,
            )
        )
        self._flights: dict[Any, tuple[Lease, int]] = {}
        self._loose_parts: list[str] = []
        self._failed: dict[str, str] = {}
        self.talk = EngineTalk(self._replicas, context.pool.tell)

    def run(self) -> None:
        """Make every row; :class:`RequestFailed` if some stay pending after all others are done.

        Whatever ends it early, open rows get a while to finish and be committed, so that a retry
        finds no row of the last try still being made.
        """
        try:
            self._lend()
            while self._flights:
                flights = list(self._flights)
                done, _ = self._ray.wait(flights, num_returns=1, timeout=_TICK_S)
                for flight in done:
                    self._receive(flight)
                if self._context.stop.is_set():
                    self._stop()
                self._lend()
                self._steal_tail()
                self.talk.listen()
                self._context.listener.stage_progress(self._progress, finished=False)
        except BaseException:
            self._land()
            raise
        finally:
            self.talk.listen(last=True)
        if self._failed:
            reasons = count_reasons(self._failed.values())
            raise RequestFailed(
                f"{self._stage.node.stage}: {len(self._failed)} rows stay pending, commonest: "
                + "; ".join(f"{count} × {reason}" for reason, count in reasons)
            )

    def _lend(self) -> None:
        """Keep every worker's window covered, with one chunk waiting behind it."""
        for index, replica in enumerate(self._replicas):
            while self._book.open_rows(index) < replica.window + self._book.chunk_rows:
                lease = self._book.lend(index)
                if lease is None:
                    break
                rows = self._rows.take(lease.rows)
                flight = replica.worker.run_chunk.remote(self._job, rows)
                self._flights[flight] = (lease, replica.generation)

    def _receive(self, flight: Any) -> None:
        from ray.exceptions import RayActorError

        lease, generation = self._flights.pop(flight)
        replica = self._replicas[lease.worker]
        self._book.close(lease)
        try:
            report: ChunkReport = self._ray.get(flight)
        except RayActorError as error:
            self._take_back_uncommitted(lease)
            self._restart(replica, generation, f"worker lost: {error}", worker_lost=True)
            return
        self._count(report)
        if report.fatal:
            raise RequestFailed(f"{self._stage.node.stage}: {report.fatal}", fatal=True)
        if report.unfinished:
            self._book.take_back(lease.worker, [self._number[key] for key in report.unfinished])
        if report.engine_lost:
            self._restart(replica, generation, report.engine_lost, worker_lost=False)

    def _restart(self, replica: Replica, generation: int, why: str, *, worker_lost: bool) -> None:
        self._context.pool.restart(replica, generation, why, worker_lost=worker_lost)

    def _take_back_uncommitted(self, lease: Lease) -> None:
        """Lease a dead worker's rows again, but for those committed before it could report."""
        committed = read_committed(self._context.storage, self._stage.node.folder)
        held = self._rows.take(lease.rows).select(["key", "parents_digest"]).to_pydict()
        lost = pl.DataFrame(held)
        todo = find_pending(lost, committed)["key"].to_list()
        self._book.take_back(lease.worker, [self._number[key] for key in todo])
        found = committed.join(lost, on=["key", "parents_digest"], how="semi")
        self._progress.accepted += int((found["status"] == "accepted").sum())
        self._progress.rejected += int((found["status"] == "rejected").sum())

    def _count(self, report: ChunkReport) -> None:
        progress, stage = self._progress, self._stage
        progress.accepted += report.accepted
        progress.rejected += report.rejected
        progress.reasons.update(report.reasons)
        progress.samples = (progress.samples + list(report.samples))[-5:]
        progress.prompt_tokens += report.prompt_tokens
        progress.cached_tokens += report.cached_tokens
        progress.completion_tokens += report.completion_tokens
        progress.requests += report.requests
        self._failed.update(report.failed)
        progress.failed = len(self._failed)
        if report.part is not None:
            self._loose_parts.append(report.part.path)
        if len(self._loose_parts) >= MERGE_CHUNKS:
            merge_chunks(self._context.storage, stage.node.folder, self._loose_parts)
            self._loose_parts = []
        if progress.made >= self._context.config.yield_check_rows:
            check_yield(
                stage.node.stage,
                stage.min_yield,
                accepted=progress.accepted,
                rows=progress.made,
                reasons=progress.reasons,
                samples=progress.samples,
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
            given = self._ask_back(self._replicas[busy], -(-surplus // 2))
            self._book.move(busy, [self._number[key] for key in given], to=idle[0])

    def _ask_back(self, replica: Replica, most: int) -> Iterable[str]:
        """Return keys a worker had not begun and gives back; none if it is gone."""
        from ray.exceptions import RayError

        with suppress(RayError):
            folder = self._stage.node.folder
            given: list[str] = self._ray.get(replica.worker.give_up.remote(folder, most))
            return given
        return ()

    def _stop(self) -> None:
        """Take nothing new, let open rows finish for a while, commit them, and end the run."""
        for flight in self._land():
            self._receive(flight)
        self._context.listener.stage_progress(self._progress, finished=False)
        progress = self._progress
        raise InterruptedRun(
            f"stopped in {self._stage.node.stage} at {progress.reused + progress.made:,} of "
            f"{progress.planned:,} rows; everything committed is kept"
        )

    def _land(self) -> list[Any]:
        """Begin no further row and wait for the open ones; return the flights that are done."""
        for replica in self._replicas:
            self._ask_back(replica, _EVERYTHING)
        if not self._flights:
            return []
        flights, grace_s = list(self._flights), self._context.config.stop_grace_s
        done, _ = self._ray.wait(flights, num_returns=len(flights), timeout=grace_s)
        return list(done)
