"""Runs a row stage: finds what is to do, leases it to workers, commits, and writes the manifest.

The runner owns the failures of engines and workers: a dead engine's rows go back and the engine
is restarted, bounded. It does not own failed requests: those rows stay pending, the others are
committed, and the stage ends with a transient error that Prefect retries.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from infra.asking import AskOptions
from infra.engine_pool import EnginePool, Replica
from infra.errors import EngineError, InterruptedRun, RequestFailed, YieldError
from infra.knobs import Knobs, execution
from infra.leases import Lease, LeaseBook
from infra.manifests import Counts, Manifest, NodeRef, NodeSpec, Usage, write_manifest
from infra.progress import ProgressListener, StageProgress
from infra.row_store import (
    MERGE_CHUNKS,
    compact_chunks,
    find_pending,
    merge_chunks,
    read_committed,
    read_rows,
    select_parts,
    write_members,
)
from infra.stage_worker import ChunkReport, Job, RowMaker
from infra.storage import Storage

_SUMMARISED = (
    "status",
    "reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "requests",
)
_TICK_S = 1.0
_EVERYTHING = 1 << 40


class RunnerConfig(Knobs):
    """Tunes how row stages are carried out; no cache notices."""

    chunk_rows: int = execution(
        64, ge=1, description="Rows a lease holds; one part is written a lease"
    )
    yield_check_rows: int = execution(
        100, ge=1, description="Rows after which a stage that falls below its min_yield may stop"
    )
    max_engine_restarts: int = execution(3, ge=0, description="Restarts of one engine in a run")
    stop_grace_s: float = execution(
        20.0, ge=0, description="How long open rows may finish after Ctrl-C, in seconds"
    )


@dataclass(frozen=True)
class RowStage:
    """Is a row stage ready to run.

    ``planned`` has the columns key, parents_digest and group, and the columns of the maker's
    input record.
    """

    node: NodeSpec
    model: str
    maker: RowMaker[Any]
    planned: pl.DataFrame
    options: AskOptions
    min_yield: float
    takes_token_ids: tuple[str, str | None] | None


@dataclass(frozen=True)
class RunnerContext:
    """Is what the runner works with: where rows go, who makes them, who watches, who stops it."""

    storage: Storage
    pool: EnginePool
    listener: ProgressListener
    config: RunnerConfig
    stop: threading.Event
    provenance: Callable[[], dict[str, str]]


@dataclass(eq=False)
class _Campaign:
    """Is one pass over the pending rows of a stage."""

    stage: RowStage
    context: RunnerContext
    progress: StageProgress
    pending: pa.Table
    replicas: list[Replica]
    job: Any
    book: LeaseBook
    number: dict[str, int]
    flights: dict[Any, tuple[Lease, int]] = field(default_factory=dict)
    loose_parts: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_row_stage(stage: RowStage, context: RunnerContext) -> NodeRef:
    """Make every planned row that is not committed yet, then write the node's manifest."""
    storage, folder = context.storage, stage.node.folder
    planned = stage.planned
    pending = find_pending(planned, read_committed(storage, folder))
    progress = StageProgress(stage.node.stage, planned.height, planned.height - pending.height)
    context.listener.stage_progress(progress, finished=False)
    if pending.height:
        _make_rows(stage, context, pending, progress)
    parts = select_parts(storage, compact_chunks(storage, folder), planned)
    members = write_members(storage, f"{folder}/{stage.node.fingerprint}.members.parquet", planned)
    draft = _draft_manifest(stage, context, parts, members, progress)
    rows = read_rows(storage, draft, _SUMMARISED)
    manifest = draft.model_copy(update=_summarise(rows, pending.height, progress))
    if manifest.counts.accepted + manifest.counts.rejected != planned.height:
        raise EngineError(
            f"{stage.node.stage}: {planned.height} rows planned, "
            f"{manifest.counts.accepted + manifest.counts.rejected} committed"
        )
    _check_yield(stage, manifest.counts.accepted, planned.height, manifest.reasons, progress)
    reference = write_manifest(storage, manifest)
    context.listener.stage_progress(progress, finished=True)
    return reference


def _make_rows(
    stage: RowStage, context: RunnerContext, pending: pl.DataFrame, progress: StageProgress
) -> None:
    import ray

    replicas = context.pool.replicas(stage.model)
    progress.began = StageProgress("", 0, 0).began
    table = pending.sort("group", "key").drop("group").to_arrow()
    encoder = stage.takes_token_ids
    job = Job(
        storage=context.storage,
        folder=stage.node.folder,
        maker=stage.maker,
        options=stage.options,
        encoder_model=encoder[0] if encoder else None,
        encoder_revision=encoder[1] if encoder else None,
    )
    keys = table.column("key").to_pylist()
    campaign = _Campaign(
        stage=stage,
        context=context,
        progress=progress,
        pending=table,
        replicas=replicas,
        job=ray.put(job),
        book=LeaseBook.divide(range(len(keys)), len(replicas), context.config.chunk_rows),
        number={key: index for index, key in enumerate(keys)},
    )
    try:
        _fly(campaign)
    except BaseException:
        _land(campaign)
        raise
    if campaign.failed:
        reasons = Counter(campaign.failed.values()).most_common(3)
        raise RequestFailed(
            f"{stage.node.stage}: {len(campaign.failed)} rows stay pending, commonest: "
            + "; ".join(f"{count} × {reason}" for reason, count in reasons)
        )


def _fly(campaign: _Campaign) -> None:
    """Lend chunks and receive reports until every row is done."""
    import ray

    context = campaign.context
    _lend(campaign)
    while campaign.flights:
        done, _ = ray.wait(list(campaign.flights), num_returns=1, timeout=_TICK_S)
        for flight in done:
            _receive(campaign, flight)
        if context.stop.is_set():
            _stop(campaign)
        _lend(campaign)
        _steal_tail(campaign)
        context.listener.stage_progress(campaign.progress, finished=False)


def _lend(campaign: _Campaign) -> None:
    """Keep every worker's window covered, with one chunk waiting behind it."""
    book = campaign.book
    for index, replica in enumerate(campaign.replicas):
        while book.open_rows(index) < replica.window + book.chunk_rows:
            lease = book.lend(index)
            if lease is None:
                break
            rows = campaign.pending.take(lease.rows)
            flight = replica.worker.run_chunk.remote(campaign.job, rows)
            campaign.flights[flight] = (lease, replica.generation)


def _receive(campaign: _Campaign, flight: Any) -> None:
    import ray
    from ray.exceptions import RayActorError

    lease, generation = campaign.flights.pop(flight)
    replica = campaign.replicas[lease.worker]
    campaign.book.close(lease)
    try:
        report: ChunkReport = ray.get(flight)
    except RayActorError as error:
        _take_back_uncommitted(campaign, lease)
        campaign.context.pool.restart(
            replica, generation, f"worker lost: {error}", worker_lost=True
        )
        return
    _count(campaign, report)
    if report.fatal:
        raise RequestFailed(f"{campaign.stage.node.stage}: {report.fatal}", fatal=True)
    if report.unfinished:
        campaign.book.take_back(lease.worker, [campaign.number[key] for key in report.unfinished])
    if report.engine_lost:
        campaign.context.pool.restart(replica, generation, report.engine_lost, worker_lost=False)


def _take_back_uncommitted(campaign: _Campaign, lease: Lease) -> None:
    """Lease a dead worker's rows again, except those it committed before it could report."""
    committed = read_committed(campaign.context.storage, campaign.stage.node.folder)
    lost = pl.from_arrow(campaign.pending.take(lease.rows).select(["key", "parents_digest"]))
    assert isinstance(lost, pl.DataFrame)
    todo = find_pending(lost, committed)["key"].to_list()
    campaign.book.take_back(lease.worker, [campaign.number[key] for key in todo])
    found = committed.join(lost, on=["key", "parents_digest"], how="semi")
    campaign.progress.accepted += int((found["status"] == "accepted").sum())
    campaign.progress.rejected += int((found["status"] == "rejected").sum())


def _count(campaign: _Campaign, report: ChunkReport) -> None:
    progress = campaign.progress
    progress.accepted += report.accepted
    progress.rejected += report.rejected
    progress.reasons.update(report.reasons)
    progress.samples = (progress.samples + list(report.samples))[-5:]
    progress.prompt_tokens += report.prompt_tokens
    progress.cached_tokens += report.cached_tokens
    progress.completion_tokens += report.completion_tokens
    progress.requests += report.requests
    campaign.failed.update(report.failed)
    progress.failed = len(campaign.failed)
    if report.part is not None:
        campaign.loose_parts.append(report.part.path)
    if len(campaign.loose_parts) >= MERGE_CHUNKS:
        merge_chunks(campaign.context.storage, campaign.stage.node.folder, campaign.loose_parts)
        campaign.loose_parts = []
    if progress.made >= campaign.context.config.yield_check_rows:
        _check_yield(
            campaign.stage, progress.accepted, progress.made, progress.reasons, progress, early=True
        )


def _steal_tail(campaign: _Campaign) -> None:
    """Move rows not begun from the busiest worker to an idle one once no row waits."""
    import ray

    book = campaign.book
    if book.waiting or len(campaign.replicas) < 2:
        return
    idle = [i for i in range(len(campaign.replicas)) if book.open_rows(i) == 0]
    busy = book.busiest()
    if not idle or busy is None:
        return
    replica = campaign.replicas[busy]
    surplus = book.open_rows(busy) - replica.window
    if surplus <= 0:
        return
    folder = campaign.stage.node.folder
    given = ray.get(replica.worker.give_up.remote(folder, -(-surplus // 2)))
    _return_rows(campaign, busy, given, to=idle[0])


def _return_rows(campaign: _Campaign, worker: int, keys: list[str], to: int) -> None:
    rows = {campaign.number[key] for key in keys}
    for lease in campaign.book.open:
        if lease.worker == worker:
            lease.rows = [row for row in lease.rows if row not in rows]
    campaign.book.take_back(to, rows)


def _stop(campaign: _Campaign) -> None:
    """Take nothing new, let open rows finish for a while, commit them, and end the run."""
    for flight in _land(campaign):
        _receive(campaign, flight)
    campaign.context.listener.stage_progress(campaign.progress, finished=False)
    raise InterruptedRun(
        f"stopped in {campaign.stage.node.stage} at "
        f"{campaign.progress.reused + campaign.progress.made:,} of "
        f"{campaign.progress.planned:,} rows; everything committed is kept"
    )


def _land(campaign: _Campaign) -> list[Any]:
    """Begin no further row, and give the open ones a while to finish and be committed.

    Whatever ends a stage, a retry must not find rows of the last try still being made.
    """
    import ray
    from ray.exceptions import RayError

    for replica in campaign.replicas:
        with suppress(RayError):
            ray.get(replica.worker.give_up.remote(campaign.stage.node.folder, _EVERYTHING))
    if not campaign.flights:
        return []
    flights = list(campaign.flights)
    grace_s = campaign.context.config.stop_grace_s
    done, _ = ray.wait(flights, num_returns=len(flights), timeout=grace_s)
    return list(done)


def _check_yield(
    stage: RowStage,
    accepted: int,
    rows: int,
    reasons: Counter[str] | dict[str, int],
    progress: StageProgress,
    *,
    early: bool = False,
) -> None:
    """Raise :class:`YieldError` below ``min_yield``; early, only when chance cannot explain it."""
    if not rows:
        return
    share = accepted / rows
    slack = 3.0 * (stage.min_yield * (1 - stage.min_yield) / rows) ** 0.5 if early else 0.0
    if share >= stage.min_yield - slack:
        return
    common = ", ".join(f"{count} × {reason}" for reason, count in Counter(reasons).most_common(4))
    samples = "\n".join(f"  {sample}" for sample in progress.samples[:3])
    raise YieldError(
        f"{stage.node.stage}: {accepted} of {rows} rows accepted ({share:.0%}), below its "
        f"min_yield of {stage.min_yield:.0%}. Rejected: {common}.\n{samples}\n"
        f"Look at them with `opencharacter show CONFIG rejects`; then mend the prompt, the model "
        f"or the sampling, or lower {stage.node.stage}'s min_yield."
    )


def _draft_manifest(
    stage: RowStage, context: RunnerContext, parts: Any, members: Any, progress: StageProgress
) -> Manifest:
    node = stage.node
    return Manifest(
        stage=node.stage,
        recipe=node.recipe,
        fingerprint=node.fingerprint,
        upstream=dict(node.upstream),
        identity=dict(node.identity),
        selection=dict(node.selection),
        parts=tuple(parts),
        members=members,
        counts=Counts(planned=0, accepted=0, rejected=0, made=0, reused=0),
        reasons={},
        usage=Usage(),
        provenance=context.provenance(),
        facts={"engine_seconds": round(progress.seconds, 3)} if progress.made else {},
    )


def _summarise(rows: pl.DataFrame, made: int, progress: StageProgress) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    accepted = int((rows["status"] == "accepted").sum())
    rejected = rows.filter(pl.col("status") == "rejected")
    reasons = dict(Counter(rejected["reason"].to_list()).most_common())
    return {
        "counts": Counts(
            planned=rows.height,
            accepted=accepted,
            rejected=rejected.height,
            made=made,
            reused=rows.height - made,
        ),
        "reasons": reasons,
        "usage": Usage(
            prompt_tokens=int(rows["prompt_tokens"].sum()),
            cached_tokens=int(rows["cached_tokens"].sum()),
            completion_tokens=int(rows["completion_tokens"].sum()),
            requests=int(rows["requests"].sum()),
            seconds=round(progress.seconds, 3),
        ),
    }
