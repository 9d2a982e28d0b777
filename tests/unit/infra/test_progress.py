"""Proves that the numbers shown while a stage runs are over this run, and never divide by zero."""

from __future__ import annotations

import time

import pytest

from infra.progress import StageProgress


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
    assert progress.eta_s == pytest.approx((2000 - 1000 - 400) / 40.0)
    assert progress.cached_share == pytest.approx(0.25)


def test_one_line_says_it_all(progress: StageProgress) -> None:
    progress.failed = 3
    assert progress.describe() == (
        "characters: 1,400/2,000 rows, 1,000 reused, 40.0 rows/s, 1,200 tokens/s, 20 rejected, "
        "3 failed, ETA 15 s"
    )


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
    assert fresh.describe() == "guesses: 0/10 rows, 0.0 rows/s, 0 tokens/s, 0 rejected"
