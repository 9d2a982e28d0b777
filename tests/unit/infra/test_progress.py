"""Proves that the numbers shown while a stage runs are over this run, and never divide by zero."""

from __future__ import annotations

import time

import pytest

from infra.progress import JobProgress, StageProgress
from infra.tally import Tally


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> StageProgress:
    monkeypatch.setattr(time, "monotonic", lambda: 110.0)
    return StageProgress(
        "characters",
        planned=2000,
        reused=1000,
        accepted=380,
        rejected=20,
        prompt_tokens=800,
        cached_tokens=200,
        completion_tokens=12_000,
        began=100.0,
    )


def test_rates_count_only_what_this_run_made(progress: StageProgress) -> None:
    assert progress.made == 400
    assert progress.rows_per_s == pytest.approx(40.0)
    assert progress.tokens_per_s == pytest.approx(1200.0)
    assert progress.cached_share == pytest.approx(0.25)


def test_one_line_says_it_all(progress: StageProgress, monkeypatch: pytest.MonkeyPatch) -> None:
    progress.pace.together = 100
    for second, accepted in ((110.0, 380), (130.0, 480), (150.0, 580)):
        monkeypatch.setattr(time, "monotonic", lambda now=second: now)
        progress.pace.clock = time.monotonic
        progress.update(Tally(accepted, 20, 800, 200, accepted * 40, 600))
    progress.failed = 3
    assert progress.describe() == (
        "characters: 1,600/2,000 rows, 1,000 reused, 5.0 rows/s, 200 tokens/s, 20 rejected, "
        "3 failed, ETA 1 min"
    )


def test_slow_rows_have_a_rate_too(progress: StageProgress) -> None:
    progress.accepted, progress.rejected, progress.completion_tokens = 3, 0, 90
    assert "0.3 rows/s, 9 tokens/s" in progress.describe()
    assert progress.cells()[1] == "0.3"


def test_before_a_row_is_finished_nothing_is_said_of_rates() -> None:
    progress = StageProgress("characters", planned=120, reused=20)
    assert progress.describe() == "characters: 20/120 rows, 20 reused"
    progress.begun = 64
    assert progress.describe() == (
        "characters: 20/120 rows, 20 reused, 64 begun, none finished yet"
    )
    assert progress.cells() == ("20/120, 64 begun", "", "", "", "", "")


def test_a_stage_that_is_done_keeps_its_rate(
    progress: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress.stop_clock()
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert progress.rows_per_s == pytest.approx(40.0)


def test_the_time_before_engines_are_up_does_not_count(progress: StageProgress) -> None:
    progress.began = 0.0
    progress.restart_clock()
    assert progress.seconds < 1.0


def test_a_finished_stage_has_no_eta(progress: StageProgress) -> None:
    progress.accepted = 980
    assert "ETA" not in progress.describe()


def test_a_stage_that_just_began_is_described_too() -> None:
    fresh = StageProgress("guesses", planned=10, reused=0, began=time.monotonic() + 5)
    assert fresh.eta_s is None
    assert fresh.cached_share == 0.0
    assert fresh.describe() == "guesses: 0/10 rows"


def test_a_job_says_how_long_it_takes_once_that_is_known() -> None:
    job = JobProgress("training", 9, 374, 71.0, None, "loss 2.1000")
    assert job.describe() == "training: 9/374 steps, loss 2.1000, 71 tokens/s"
    known = JobProgress("training", 90, 374, 71.0, 234.0, "loss 2.1000")
    assert known.describe().endswith("71 tokens/s, ETA 4 min")
    assert known.cells()[-1] == "4 min"
