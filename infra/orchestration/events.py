"""Tells Prefect what a run notices, as events that automations listen to.

=====================  ==========================================================================
event                  when
=====================  ==========================================================================
``stage.committed``    a node's manifest is written
``throughput.low``     a stage generates far slower than it did before in this run
``output.collapse``    most rows of the last stretch were rejected: the model no longer answers
=====================  ==========================================================================

The resource is the node, ``opencharacter.stage.<name>``; Prefect adds the run, its deployment and
its tags, by which automations under ``infra/deploy/prefect/automations/`` find their way back to
the run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.context import Listener
from infra.progress import Progress, StageProgress
from infra.store.manifests import Manifest

STAGE_COMMITTED = "stage.committed"
THROUGHPUT_LOW = "throughput.low"
OUTPUT_COLLAPSE = "output.collapse"

Payload = Mapping[str, str | int | float | Mapping[str, int]]
Emit = Callable[[str, str, Payload], None]


def emit(event: str, stage: str, payload: Payload) -> None:
    """Send an event about a stage; does nothing outside a run, and never fails a run."""
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.events import emit_event

    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return
    resource = {
        "prefect.resource.id": f"opencharacter.stage.{stage}",
        "prefect.resource.name": stage,
    }
    emit_event(event=event, resource=resource, payload=dict(payload))


def announce_stage(manifest: Manifest, send: Emit = emit) -> None:
    """Say that a node is done, with its counts, its reject reasons and its fingerprint."""
    counts = manifest.counts
    send(
        STAGE_COMMITTED,
        manifest.stage,
        {
            "planned": counts.planned,
            "accepted": counts.accepted,
            "rejected": counts.rejected,
            "made": counts.made,
            "reused": counts.reused,
            "reasons": dict(manifest.reasons),
            "generated_tokens": manifest.usage.completion_tokens,
            "seconds": manifest.usage.seconds,
            "fingerprint": manifest.fingerprint,
        },
    )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is worth an event. Rates are generated tokens a second over a stretch."""

    stretch_s: float = 60.0
    low_share: float = 0.3
    """Of the fastest stretch of the stage in this run."""
    collapse_rows: int = 50
    """Fewest rows of a stretch to judge by."""
    collapse_share: float = 0.8
    """Rejected among them."""


@dataclass(slots=True)
class _Watched:
    """What is remembered of a stage: where the stretch began, and what was said already."""

    since: float
    tokens: int = 0
    made: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    fastest: float = 0.0
    slow: bool = False
    collapsed: bool = False


class StageMonitor(Listener):
    """Watcher that compares each stretch of a stage with those before; says once what goes wrong.

    A stage that recovers may be announced again. The tail of a stage, with fewer rows left than
    engines hold, is slow by nature: a stretch counts only while a tenth of the rows is left.
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        send: Emit = emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = thresholds or Thresholds()
        self._send = send
        self._clock = clock
        self._stages: dict[str, _Watched] = {}
        self._lock = threading.Lock()

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Look at a row stage about once a stretch."""
        if not isinstance(progress, StageProgress) or finished:
            return
        with self._lock:
            now = self._clock()
            watched = self._stages.setdefault(progress.stage, _Watched(now))
            if progress.completion_tokens < watched.tokens or not progress.made:
                # The stage was tried again, or its engines are still starting.
                self._stages[progress.stage] = _Watched(now)
                return
            self._judge_rejects(progress, watched)
            if now - watched.since >= self._limits.stretch_s:
                self._judge_rate(progress, watched, now)

    def engine_event(self, model: str, text: str) -> None:
        """Ignore engines; their stages slow down if it matters."""

    def _judge_rate(self, progress: StageProgress, watched: _Watched, now: float) -> None:
        rate = (progress.completion_tokens - watched.tokens) / (now - watched.since)
        watched.since, watched.tokens = now, progress.completion_tokens
        low = rate < self._limits.low_share * watched.fastest and progress.share < 0.9
        if low and not watched.slow:
            payload: Payload = {
                "tokens_per_s": round(rate, 1),
                "fastest_tokens_per_s": round(watched.fastest, 1),
                "progress": progress.describe(),
            }
            self._send(THROUGHPUT_LOW, progress.stage, payload)
        watched.slow = low
        watched.fastest = max(watched.fastest, rate)

    def _judge_rejects(self, progress: StageProgress, watched: _Watched) -> None:
        made = progress.made - watched.made
        if made < self._limits.collapse_rows or progress.again:
            return
        share = (progress.rejected - watched.rejected) / made
        collapsed = share >= self._limits.collapse_share
        if collapsed and not watched.collapsed:
            payload: Payload = {
                "rejected_share": round(share, 3),
                "rows": made,
                "reasons": dict((progress.reasons - watched.reasons).most_common(5)),
                "progress": progress.describe(),
            }
            self._send(OUTPUT_COLLAPSE, progress.stage, payload)
        watched.collapsed = collapsed
        watched.made, watched.rejected = progress.made, progress.rejected
        watched.reasons = Counter(progress.reasons)
