"""Proves what a terminal and a log show of a stage, and how often."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from rich.console import Console

from flows.control import display
from flows.control.display import LineRhythm, Terminal
from infra.progress import JobProgress, StageProgress


def print_times(moving_from: float, until: float) -> list[float]:
    """Return when lines come if a stage is looked at five times a second."""
    rhythm = LineRhythm(0.0)
    return [
        now
        for now in (tick / 5 for tick in range(int(until * 5)))
        if rhythm.is_due(now, moving=now >= moving_from)
    ]


def test_the_first_finished_row_has_its_line_at_once() -> None:
    assert print_times(moving_from=14.2, until=30) == [0.0, 10.0, 14.2, 24.2]


def test_lines_become_rarer_and_never_stop() -> None:
    times = print_times(moving_from=5, until=3600)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps[1:]) >= 10 and max(gaps) <= 30.2
    assert len(times) < 150


def test_a_log_says_what_is_finished_and_nothing_that_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = StageProgress("characters", planned=120, reused=0, begun=80)
    with Terminal() as terminal:
        terminal.stage_progress(progress, finished=False)
        progress.accepted, progress.completion_tokens = 2, 150
        terminal.stage_progress(progress, finished=False)
        progress.accepted = 3
        terminal.stage_progress(progress, finished=False)
        progress.accepted, progress.rejected = 100, 20
        terminal.stage_progress(progress, finished=True)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "  characters: 0/120 rows, 80 begun, none finished yet"
    assert second.startswith("  characters: 2/120 rows, ")
    assert "tokens/s, 0 rejected" in second
    assert last.startswith("✓ characters: 120/120 rows, ")
    assert "20 rejected" in last
    assert "ETA" not in first + second + last


def test_a_table_leaves_empty_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, no_color=True)
    monkeypatch.setattr(display, "Console", lambda **_: console)
    with Terminal() as terminal:
        terminal.stage_progress(StageProgress("guesses", planned=60, reused=0), finished=False)
        job = JobProgress("training", 9, 374, tokens_per_s=0.0, eta_s=None, note="")
        terminal.stage_progress(job, finished=False)
    rows = [line.split() for line in screen.getvalue().splitlines()]
    assert [row for row in rows if row[:1] == ["guesses"]][-1] == ["guesses", "0/60"]
    assert [row for row in rows if row[:1] == ["training"]][-1] == ["training", "9/374"]
