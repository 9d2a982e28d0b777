"""Runs a row stage: finds what is to do, has it made, and writes the manifest.

The runner owns the failures of engines and workers: a dead engine's rows go back and the engine
is restarted, bounded. It does not own failed requests: those rows stay pending, the others are
committed, and the stage ends with a transient error that Prefect retries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import polars as pl

from infra.errors import EngineError
from infra.generation.dispatcher import Dispatcher
from infra.generation.min_yield import check_yield
from infra.generation.reruns import count_rounds, plan_round
from infra.generation.row_stage import RowStage, RunnerContext
from infra.progress import StageProgress
from infra.store.manifests import Counts, Manifest, NodeRef, Usage, write_manifest
from infra.store.row_store import (
    await_listed,
    compact_chunks,
    find_pending,
    read_committed,
    take_planned,
    write_members,
)
from infra.store.thought_counts import describe_thoughts

_SUMMARISED = (
    "status",
    "reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "requests",
)


def run_row_stage(stage: RowStage, context: RunnerContext) -> NodeRef:
    """Make every planned row that is not committed yet, then write the node's manifest."""
    storage, folder = context.storage, stage.node.folder
    planned, made, spent_s = stage.planned, set[str](), 0.0
    learnt: dict[str, Any] = {}
    for number in range(count_rounds(stage.node) + 1):
        committed = read_committed(storage, folder)
        if number:
            planned = plan_round(planned, committed, number)
        pending = find_pending(planned, committed)
        made.update(pending["key"])
        reused = planned.height - pending.height
        progress = StageProgress(
            stage.node.stage, planned.height, reused, stage.model, again=number > 0
        )
        context.listener.stage_progress(progress, finished=False)
        if pending.height:
            with context.pool.use(stage.model) as replicas:
                dispatcher = Dispatcher(
                    _take_round(stage, number), context, pending, progress, replicas
                )
                dispatcher.run()
                learnt |= dispatcher.talk.facts
            await_listed(storage, folder, dispatcher.written)
            progress.stop_clock()
            spent_s += progress.seconds
    parts, rows = take_planned(storage, compact_chunks(storage, folder), planned, _SUMMARISED)
    members = write_members(storage, f"{folder}/{stage.node.fingerprint}.members.parquet", planned)
    draft = _draft_manifest(stage, context, parts, members, spent_s)
    draft = draft.model_copy(
        update={"facts": draft.facts | ({"endpoint": learnt} if learnt else {})}
    )
    manifest = draft.model_copy(update=_summarise(rows, len(made), spent_s))
    if manifest.counts.accepted + manifest.counts.rejected != planned.height:
        raise EngineError(
            f"{stage.node.stage}: {planned.height} rows planned, "
            f"{manifest.counts.accepted + manifest.counts.rejected} committed"
        )
    check_yield(
        stage.node.stage,
        stage.min_yield,
        accepted=manifest.counts.accepted,
        rows=planned.height,
        reasons=manifest.reasons,
        samples=progress.samples,
    )
    reference = write_manifest(storage, manifest)
    context.listener.stage_progress(progress, finished=True)
    return reference


def _take_round(stage: RowStage, number: int) -> RowStage:
    """Return the stage as it asks in a round: with the attempts after those of earlier ones.

    What was rejected before may all be rejected again, so the yield is judged at the end only.
    """
    if not number:
        return stage
    options = replace(stage.options, first_attempt=number * stage.options.max_attempts)
    return replace(stage, options=options, min_yield=0.0)


def _draft_manifest(
    stage: RowStage, context: RunnerContext, parts: Any, members: Any, seconds: float
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
        facts={
            **({"engine_seconds": round(seconds, 3)} if seconds else {}),
            **describe_thoughts(context.storage, parts),
        },
    )


def _summarise(rows: pl.DataFrame, made: int, seconds: float) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    accepted = int((rows["status"] == "accepted").sum())
    rejected = rows.filter(pl.col("status") == "rejected").sort("key")
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
            seconds=round(seconds, 3),
        ),
    }
