"""Replays how things were finished, and looks at what was said of the time left, and when."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from infra.pace import Pace, name_duration
from infra.progress import pace_job


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Said:
    """What was said of the time left, second by second, beside what was left in truth."""

    done: list[int] = field(default_factory=list)
    eta: list[tuple[float, float, float]] = field(default_factory=list)

    def ratios(self) -> list[float]:
        return [told / left for _, told, left in self.eta]


def replay(
    moments: Sequence[float],
    pace: Pace,
    clock: Clock,
    *,
    jump: Callable[[int], int] = lambda done: done,
) -> Said:
    """Note each second what was finished by then; remember what was said."""
    said, end = Said(), max(moments)
    while clock.now < end:
        clock.now += 1.0
        done = jump(sum(moment <= clock.now for moment in moments))
        pace.note(done, done * 7)
        eta = pace.estimate_s(len(moments) - done)
        if eta is not None and end > clock.now:
            said.eta.append((clock.now, eta, end - clock.now))
            said.done.append(done)
    return said


def serve(durations: Sequence[float], window: int, start: float) -> list[float]:
    """Return when rows end that are made ``window`` at a time, the first at ``start``."""
    open_rows: list[float] = []
    ends = []
    for duration in durations:
        began = start if len(open_rows) < window else heapq.heappop(open_rows)
        heapq.heappush(open_rows, began + duration)
        ends.append(began + duration)
    return ends


def draw_durations(count: int, mean_s: float, seed: int = 1) -> list[float]:
    random = Random(seed)
    return [mean_s * random.uniform(0.3, 1.7) for _ in range(count)]


def test_a_long_stage_is_estimated_after_one_windowful_and_well() -> None:
    clock = Clock()
    ends = serve(draw_durations(1500, mean_s=40), window=64, start=45)  # 45 s of start
    said = replay(ends, Pace(together=64, clock=clock), clock)
    first_at, _, _ = said.eta[0]
    assert said.done[0] > 64
    assert first_at < 0.15 * max(ends)
    # Until the last rows, which nobody replaces, are being made.
    steady = [told / left for at, told, left in said.eta if left > 160]
    assert min(steady) > 0.75 and max(steady) < 1.35


def test_rows_that_all_begin_at_once_are_not_judged_by_the_short_ones() -> None:
    """By the first few, 120 rows of 10 to 60 s would seem to take twice as long or half."""
    clock = Clock()
    ends = serve(draw_durations(120, mean_s=35), window=320, start=0)
    said = replay(ends, Pace(together=320, clock=clock), clock)
    assert said.done[0] >= 60
    assert all(
        0.4 < ratio < 2.5 for at, ratio in zip(said.eta, said.ratios(), strict=True) if at[2] > 3
    )


def test_a_stage_of_twenty_seconds_is_not_said_to_take_twenty_minutes() -> None:
    """374 texts, nine a batch, after thirty seconds in which a model was loaded."""
    clock = Clock()
    moments = [30 + 20 * n / 374 for n in range(1, 375)]
    said = replay(moments, pace_of_a_job(clock), clock, jump=lambda done: done // 9 * 9)
    assert all(told < 2 * 20 for _, told, _ in said.eta)
    assert all(
        0.5 < ratio < 2
        for (_, _, left), ratio in zip(said.eta, said.ratios(), strict=True)
        if left > 2
    )


def test_a_first_step_that_compiles_counts_for_nothing() -> None:
    clock = Clock()
    moments = [120 + 6.0 * n for n in range(100)]
    said = replay(moments, pace_of_a_job(clock), clock)
    assert said.done[0] >= 4
    assert all(
        0.8 < ratio < 1.25
        for (_, _, left), ratio in zip(said.eta, said.ratios(), strict=True)
        if left > 30
    )


def test_an_engine_that_slows_down_is_noticed_within_minutes() -> None:
    clock = Clock()
    fast, slow = [n * 0.5 for n in range(1, 601)], [300 + 2.0 * n for n in range(1, 601)]
    said = replay(fast + slow, Pace(together=32, clock=clock), clock)
    late = [told / left for at, told, left in said.eta if at > 420 and left > 40]
    assert all(0.8 < ratio < 1.25 for ratio in late)


def test_a_stage_that_stands_still_takes_ever_longer() -> None:
    clock = Clock()
    pace = Pace(together=8, clock=clock)
    for second in range(1, 61):
        clock.now = float(second)
        pace.note(second)
    told = []
    for second in (70, 100, 400):
        clock.now = float(second)
        told.append(pace.estimate_s(100) or 0.0)
    assert told == sorted(told) and told[-1] > 4 * told[0]


def test_rates_are_those_of_late_and_nothing_before_they_mean_something() -> None:
    clock = Clock()
    pace = Pace(together=4, clock=clock)
    assert pace.rates(100) is None
    for second in range(1, 201):
        clock.now = float(second)
        done = second if second <= 100 else 100 + 5 * (second - 100)
        pace.note(done, 10 * done)
        if second < 16:
            assert pace.rates(1000) is None
    rates = pace.rates(1000)
    assert rates == pytest.approx((5.0, 50.0), rel=0.05)


def test_what_was_lost_is_not_counted_as_going_backwards() -> None:
    clock = Clock()
    pace = Pace(together=4, clock=clock)
    for second in range(1, 61):
        clock.now = float(second)
        pace.note(second * 2)
    clock.now += 1
    pace.note(90)  # a worker died with thirty rows that were not committed
    assert pace.estimate_s(50) is None
    for second in range(1, 40):
        clock.now += 1
        pace.note(90 + second * 2)
    assert pace.estimate_s(100) == pytest.approx(50, rel=0.1)


def test_days_of_work_are_remembered_in_a_minute_s_marks() -> None:
    clock = Clock()
    pace = Pace(together=64, clock=clock)
    for step in range(1, 20_001):
        clock.now = step * 0.25
        pace.note(step)
    assert len(pace._marks) < 250
    assert pace.estimate_s(400) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "5 s"),
        (41, "40 s"),
        (234, "4 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (3 * 3600 + 20, "3 h"),
        (12_100, "3 h 20 min"),
        (47.9 * 3600, "47 h 50 min"),
        (60 * 3600, "2.5 days"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert name_duration(seconds) == said


def pace_of_a_job(clock: Clock) -> Pace:
    pace = pace_job()
    pace.clock = clock
    return pace
