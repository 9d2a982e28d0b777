"""Runs stages whose rows take long: what is shown, what is kept, and what adds up meanwhile.

A share of the requests is held until a file exists, so one chunk of all rows stays open for as
long as a test likes. That the runs end at all is half of the proof: nobody lets the held rows go
before the finished ones were shown or committed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.control.display import watch
from infra.context import RunContext
from infra.errors import InterruptedRun, YieldError
from infra.progress import Progress, StageProgress
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    count_parts,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.scripted import LEDGER, ScriptedWorld, Silent, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PERSONAS = 24
ONLY_CHARACTERS = (
    "instructions.synthesis.count=0",
    "runner.chunk_rows=64",
    "models.teacher.max_concurrency=32",
)


class Watcher(Silent):
    """Remembers how far the characters were, and does something once that is far enough."""

    def __init__(self, least: int, act: Callable[[RunContext], None]) -> None:
        self._least, self._act = least, act
        self.made: list[int] = []
        self.tokens: list[int] = []
        self.lines: list[str] = []
        self.context: RunContext | None = None
        self.acted_at: int | None = None

    def run_started(self, name: str, context: RunContext) -> None:
        self.context = context

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        if not isinstance(progress, StageProgress) or progress.stage != "characters":
            return
        self.made.append(progress.made)
        self.tokens.append(progress.completion_tokens)
        self.lines.append(progress.describe())
        if self.acted_at is None and progress.made >= self._least and self.context is not None:
            self.acted_at = progress.made
            self._act(self.context)


def hold(marker: Path, share: float = 0.3, more: str = "") -> str:
    return f"models.teacher.script={{hold_share: {share}, hold_marker: {marker}{more}}}"


def test_finished_rows_are_shown_while_their_chunk_is_open(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    """Not one of them is committed: a part is written when the chunk ends, an hour from now."""
    marker = tmp_path / "go on"
    parts: list[int] = []

    def let_go(_: RunContext) -> None:
        parts.append(count_parts(world.root, "characters"))
        marker.touch()

    watcher = Watcher(1, let_go)
    with watch(watcher):
        result = world.run(
            hold(marker), *ONLY_CHARACTERS, "runner.chunk_seconds=3600", until="characters"
        )
    assert parts == [0]
    assert watcher.acted_at is not None and 0 < watcher.acted_at < PERSONAS
    first = next(line for line, made in zip(watcher.lines, watcher.made, strict=True) if made)
    assert "tokens/s" in first and "0 tokens/s" not in first.split(", ")
    assert watcher.made == sorted(watcher.made) and watcher.tokens == sorted(watcher.tokens)
    counts = result.counts["characters"]
    assert watcher.made[-1] == counts.planned == counts.accepted + counts.rejected == PERSONAS


def test_killed_in_mid_chunk_a_run_loses_nothing_that_was_committed_in_time(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path, personas=PERSONAS)
    marker, ledger = tmp_path / "go on", tmp_path / "ledger"
    env = {LEDGER: str(ledger), "PREFECT_API_URL": prefect_server}
    script = hold(marker, more=", respond: tests.e2e.scripted.respond_and_log")
    settings = (script, *ONLY_CHARACTERS, "runner.chunk_seconds=0.5")
    command = ["run", str(world.config), "--until", "characters"]
    command += [word for setting in settings for word in ("--set", setting)]
    before = running_pids()
    code = run_until(
        command, env, lambda: count_parts(world.root, "characters") >= 1, signal.SIGKILL
    )
    assert code == -signal.SIGKILL
    await_no_leftovers(before)
    kept = read_parts(world.root, "characters")
    assert 0 < kept.height < PERSONAS
    asked_before = set(ledger.read_text().splitlines())

    marker.touch()
    done = run_command(command, env)
    counts = closing_line(done)["counts"]["characters"]
    greetings = ("WARNING", "SIGTERM", "authentication", "ray.io")
    assert not [line for line in done.stderr.splitlines() if any(g in line for g in greetings)]
    rows = read_parts(world.root, "characters")
    assert counts["planned"] == counts["accepted"] + counts["rejected"] == PERSONAS
    assert rows["key"].n_unique() == rows.height == PERSONAS
    assert rows.sort("key").join(kept, on="key", how="semi").equals(kept.sort("key"))
    asked = ledger.read_text().splitlines()
    twice = {request for request in asked if asked.count(request) > 1}
    committed = tuple(kept["key"].to_list())
    assert twice <= asked_before
    assert not [request for request in twice if request.startswith(committed)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_worker_that_dies_between_two_commits_leaves_counts_exact(
    world: ScriptedWorld, tmp_path: Path, replicas: int
) -> None:
    died = tmp_path / "died"
    script = (
        f"{{latency_s: 0.1, bad_output_share: 0.3, die_after: {14 // replicas}, hard: true, "
        f"die_once_marker: {died}}}"
    )
    watcher = Watcher(1 << 30, lambda _: None)
    with watch(watcher):
        result = world.run(
            f"models.teacher.script={script}",
            f"models.teacher.replicas={replicas}",
            "instructions.synthesis.count=0",
            "models.teacher.max_concurrency=3",
            "runner.chunk_rows=64",
            "runner.chunk_seconds=0.2",
            "characters.max_attempts=1",
            "characters.min_yield=0.2",
            until="characters",
        )
    assert died.exists()
    counts, rows = result.counts["characters"], read_parts(world.root, "characters")
    assert counts.rejected > 0
    assert counts.accepted + counts.rejected == counts.planned == PERSONAS
    assert rows["key"].n_unique() == rows.height == PERSONAS
    assert max(watcher.made) == watcher.made[-1] == PERSONAS
    assert watcher.tokens == sorted(watcher.tokens)  # what a dead worker spent stays spent


def test_stopped_while_rows_take_longer_than_the_grace_what_is_finished_is_kept(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    watcher = Watcher(1, lambda context: context.stop.set())
    with watch(watcher), pytest.raises(InterruptedRun, match="stopped in characters") as caught:
        world.run(
            hold(tmp_path / "never"),
            *ONLY_CHARACTERS,
            "runner.chunk_seconds=3600",
            "runner.stop_grace_s=1",
            until="characters",
        )
    kept = read_parts(world.root, "characters").height
    assert watcher.acted_at is not None and watcher.acted_at <= kept < PERSONAS
    assert f"at {kept} of {PERSONAS} rows" in str(caught.value)


def test_a_hopeless_stage_is_stopped_before_its_first_chunk_ends(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    """A tenth of the rows never ends, and all that end are rejected."""
    with pytest.raises(YieldError, match=r"characters: .*below its min_yield"):
        world.run(
            hold(tmp_path / "never", 0.1, ", bad_output_share: 1.0"),
            *ONLY_CHARACTERS,
            "characters.max_attempts=1",
            "runner.yield_check_rows=8",
            "runner.stop_grace_s=0.5",
            until="characters",
        )
    assert 0 < read_parts(world.root, "characters").height < PERSONAS
