"""Proves that events say what a stage did, once, and only when something is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.orchestration.events import (
    OUTPUT_COLLAPSE,
    STAGE_COMMITTED,
    THROUGHPUT_LOW,
    Payload,
    StageMonitor,
    Thresholds,
    announce_stage,
    emit,
)
from infra.progress import JobProgress, StageProgress
from tests.unit.infra.nodes import make_manifest


@dataclass
class Desk:
    """Takes events down, and has a clock that is set by hand."""

    now: float = 0.0
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)

    def send(self, event: str, stage: str, payload: Payload) -> None:
        self.events.append((event, stage, payload))

    def names(self) -> list[str]:
        return [event for event, _, _ in self.events]

    def watch(self, **limits: Any) -> StageMonitor:
        return StageMonitor(Thresholds(**limits), send=self.send, clock=lambda: self.now)


def advance(
    desk: Desk, monitor: StageMonitor, progress: StageProgress, seconds: float, tokens: int
) -> None:
    """Let a minute or so pass in which so many tokens were generated, for ten accepted rows."""
    desk.now += seconds
    progress.accepted += 10
    progress.completion_tokens += tokens
    monitor.stage_progress(progress, finished=False)


def test_a_committed_stage_tells_its_counts() -> None:
    desk = Desk()
    announce_stage(make_manifest([]), desk.send)
    ((event, stage, payload),) = desk.events
    assert (event, stage) == (STAGE_COMMITTED, "notes")
    assert (payload["planned"], payload["accepted"], payload["made"]) == (2, 2, 2)
    assert payload["fingerprint"] == make_manifest([]).fingerprint


def test_outside_a_run_nothing_is_sent_and_nothing_fails() -> None:
    emit(STAGE_COMMITTED, "notes", {})


def test_a_slow_stretch_is_told_once_and_again_after_a_recovery() -> None:
    desk = Desk()
    monitor = desk.watch(stretch_s=60, low_share=0.3)
    progress = StageProgress("characters", planned=1000, reused=0)
    monitor.stage_progress(progress, finished=False)
    advance(desk, monitor, progress, 60, 6000)
    advance(desk, monitor, progress, 60, 1900)  # 32 %
    assert desk.names() == []
    advance(desk, monitor, progress, 60, 1700)  # 28 %
    advance(desk, monitor, progress, 60, 100)
    assert desk.names() == [THROUGHPUT_LOW]
    assert desk.events[0][2]["fastest_tokens_per_s"] == 100.0
    advance(desk, monitor, progress, 60, 6000)
    advance(desk, monitor, progress, 60, 100)
    assert desk.names() == [THROUGHPUT_LOW] * 2


def test_engines_that_start_and_the_tail_of_a_stage_are_not_slow() -> None:
    desk = Desk()
    monitor = desk.watch(stretch_s=60)
    progress = StageProgress("characters", planned=40, reused=0)
    monitor.stage_progress(progress, finished=False)
    desk.now += 600
    monitor.stage_progress(progress, finished=False)
    advance(desk, monitor, progress, 60, 6000)
    progress.accepted = 27
    advance(desk, monitor, progress, 60, 10)
    assert progress.share > 0.9
    assert desk.names() == []


def test_rejects_of_the_last_rows_count_and_not_those_of_the_whole_stage() -> None:
    desk = Desk()
    monitor = desk.watch(collapse_rows=50, collapse_share=0.8)
    progress = StageProgress("dialogues_generate", planned=1000, reused=0)
    monitor.stage_progress(progress, finished=False)
    progress.accepted, progress.completion_tokens = 500, 1
    monitor.stage_progress(progress, finished=False)
    progress.rejected, progress.reasons = 30, Counter(empty=30)
    monitor.stage_progress(progress, finished=False)
    assert desk.names() == []  # thirty rows are too few to judge by
    progress.rejected, progress.reasons = 50, Counter(empty=45, truncated=5)
    monitor.stage_progress(progress, finished=False)
    progress.rejected, progress.reasons = 120, Counter(empty=115, truncated=5)
    monitor.stage_progress(progress, finished=False)
    assert desk.names() == [OUTPUT_COLLAPSE]
    assert desk.events[0][2]["reasons"] == {"empty": 45, "truncated": 5}
    assert desk.events[0][2]["rejected_share"] == 1.0


def test_jobs_without_rows_and_finished_stages_are_left_alone() -> None:
    desk = Desk()
    monitor = desk.watch(collapse_rows=1, collapse_share=0.0)
    job = JobProgress("training", 1, 10, tokens_per_s=0.0, eta_s=None, note="")
    monitor.stage_progress(job, finished=False)
    done = StageProgress("characters", planned=10, reused=0, rejected=10, completion_tokens=1)
    monitor.stage_progress(done, finished=True)
    assert desk.events == []
