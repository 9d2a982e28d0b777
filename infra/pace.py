"""Says how fast something goes, and how long it will take, from its recent past only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_STEADY_S = 60.0
_BUCKET_S = 0.5
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


class Mark(NamedTuple):
    """A moment, and what was done until then."""

    at: float
    done: int
    amount: int


@dataclass(slots=True)
class Pace:
    """Rates over the recent past of things that are finished one after another.

    What is finished first says little: until then models were loaded and kernels compiled, and of
    rows that begin at once the short ones end first. So nothing before the first finished thing
    counts, and an estimate looks as far back as it looks ahead, at most one windowful of things
    that are open together (by then each has had its turn), and at least ``least`` things and
    ``least_s`` seconds. While more than a windowful is left, it looks a minute back where it can.
    """

    together: int = 1
    least: int = 16
    least_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    _marks: deque[Mark] = field(default_factory=deque)

    def note(self, done: int, amount: int = 0) -> None:
        """Hear how many things are done, and how much of what they are measured by (tokens)."""
        if done <= 0 or (self._marks and done == self._marks[-1].done):
            return
        marks, mark = self._marks, Mark(self.clock(), done, amount)
        if marks and done < marks[-1].done:
            marks.clear()  # what was done was lost
        if len(marks) > 2 and mark.at - marks[-2].at < _BUCKET_S:
            marks[-1] = mark
        else:
            marks.append(mark)
        while len(marks) > 1 and self._reaches(marks[1], max(self.together, self.least), _STEADY_S):
            marks.popleft()

    def estimate_s(self, left: int) -> float | None:
        """Return the seconds that what is left will take, or ``None`` while nobody can know."""
        base = self._look_back(left)
        return None if base is None or left <= 0 else left * self._measure(base)

    def rates(self, left: int) -> tuple[float, float] | None:
        """Return (things, amount) per second lately, or ``None`` while nobody can know."""
        base = self._look_back(left)
        if base is None:
            return None
        last = self._marks[-1]
        done, amount = last.done - base.done, last.amount - base.amount
        seconds = self._measure(base) * done
        return done / seconds, amount / seconds

    def _measure(self, base: Mark) -> float:
        """Return the seconds that a thing took since then; one that is late counts as it ends."""
        last = self._marks[-1]
        done = last.done - base.done
        return max((last.at - base.at) / done, (self.clock() - base.at) / (done + 1))

    def _look_back(self, ahead: int) -> Mark | None:
        things = max(self.least, min(ahead, self.together))
        if ahead > self.together:
            steady = self._find_latest(things, _STEADY_S)
            return steady or self._find_earliest(things, self.least_s)
        return self._find_latest(things, self.least_s)

    def _find_latest(self, things: int, seconds: float) -> Mark | None:
        return next(self._reaching(things, seconds, reversed(self._marks)), None)

    def _find_earliest(self, things: int, seconds: float) -> Mark | None:
        return next(self._reaching(things, seconds, iter(self._marks)), None)

    def _reaching(self, things: int, seconds: float, marks: Iterator[Mark]) -> Iterator[Mark]:
        return (mark for mark in marks if self._reaches(mark, things, seconds))

    def _reaches(self, mark: Mark, things: int, seconds: float) -> bool:
        return self._marks[-1].done - mark.done >= things and self.clock() - mark.at >= seconds


def name_duration(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``4 min``, ``3 h 20 min``, ``2.5 days``."""
    if seconds < _MINUTE_S:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 1.5 * _HOUR_S:
        return f"{round(seconds / _MINUTE_S)} min"
    if seconds < 2 * _DAY_S:
        tens = round(seconds / 600)
        return f"{tens // 6} h {tens % 6 * 10:02d} min" if tens % 6 else f"{tens // 6} h"
    return f"{seconds / _DAY_S:.1f} days"
