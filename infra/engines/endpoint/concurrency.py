"""Adapts how many requests are open at a server to what the server can take.

The limit follows TCP. It starts small and doubles every round trip (slow start) until the first
sign of overload, then grows by one a round trip and halves on overload. Three refinements:

* one overload halves the limit once: answers to requests that were sent before the last decrease
  belong to the same event and do not count again;
* the limit grows only while it is fully used, else it would grow without having been tested;
* a latency guard stops growth where more open requests only mean longer queues: while the median
  latency of the latest window is twice the best window's *and* throughput is no better than the
  best window's. Latency alone would stop far too early, because a batching server answers ten
  requests at once more slowly than one, and much faster than one after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from statistics import median

_DECREASE = 0.5
_LATENCY_RATIO = 2.0
_THROUGHPUT_GAIN = 1.1
_SMALLEST_WINDOW = 8
# Windows older than this are forgotten, so that a change to longer answers cannot freeze the
# limit for ever. The price: a saturated server is probed upwards once in so many windows.
_WINDOWS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Permit:
    """Right to have one request open.

    ``epoch`` counts the decreases before it was granted, ``granted_s`` is the clock at the grant.
    """

    epoch: int
    granted_s: float


@dataclass(frozen=True, slots=True)
class _Window:
    latency: float
    throughput: float


class AdaptiveLimit:
    """Limit that adapts, with permits granted first come, first served; for one event loop.

    Args:
        ceiling: The most that may ever be open.
        start: The limit before anything is known.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self, ceiling: int, *, start: int = 8, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ceiling = ceiling
        self._limit = float(min(start, ceiling))
        self._clock = clock
        self._in_flight = 0
        self._epoch = 0
        self._slow_start = True
        self._resume_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._samples: list[tuple[float, int]] = []
        self._window_start_s: float | None = None
        self._windows: deque[_Window] = deque(maxlen=_WINDOWS_KEPT)
        self._queues_grow = False

    @property
    def limit(self) -> int:
        """Return how many requests may be open now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Return how many requests are open now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a permit."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Permit]:
        """Hold one permit; it goes back however the body ends, cancellation included."""
        await self._acquire()
        try:
            yield Permit(self._epoch, self._clock())
        finally:
            self._in_flight -= 1
            self._grant()

    def pause(self, seconds: float) -> None:
        """Grant nothing for so long; a longer pause that is already on stays."""
        self._resume_s = max(self._resume_s, self._clock() + seconds)

    def record_success(self, permit: Permit, *, tokens: int) -> None:
        """Learn from an answer; call it while the permit is held.

        Latency is taken per generated token, so that stages with long and with short answers
        can share one engine.
        """
        now_s = self._clock()
        self._observe(now_s, now_s - permit.granted_s, max(tokens, 1))
        if permit.epoch != self._epoch or self._in_flight < self.limit or self._queues_grow:
            return
        step = 1.0 if self._slow_start else 1.0 / self._limit
        self._limit = min(float(self._ceiling), self._limit + step)

    def record_overload(self, permit: Permit) -> bool:
        """Halve the limit, at most once a round trip; return whether it was halved now."""
        if permit.epoch != self._epoch:
            return False
        self._epoch += 1
        self._slow_start = False
        self._limit = max(1.0, self._limit * _DECREASE)
        return True

    def _observe(self, now_s: float, latency_s: float, tokens: int) -> None:
        if self._window_start_s is None:
            self._window_start_s = now_s - latency_s
        self._samples.append((latency_s / tokens, tokens))
        elapsed_s = now_s - self._window_start_s
        # A window spans a round trip at least: answers come in bunches, and a bunch on its own
        # has no duration.
        if len(self._samples) < _SMALLEST_WINDOW or elapsed_s < max(latency_s, 1e-9):
            return
        window = _Window(
            latency=median(latency for latency, _ in self._samples),
            throughput=sum(count for _, count in self._samples) / elapsed_s,
        )
        self._queues_grow = bool(self._windows) and (
            window.latency >= _LATENCY_RATIO * min(w.latency for w in self._windows)
            and window.throughput <= _THROUGHPUT_GAIN * max(w.throughput for w in self._windows)
        )
        if self._queues_grow:
            self._slow_start = False
        self._windows.append(window)
        self._samples.clear()
        self._window_start_s = now_s

    async def _acquire(self) -> None:
        if not self._waiting and self._has_room():
            self._in_flight += 1
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                with suppress(ValueError):  # A grant may have passed over it already.
                    self._waiting.remove(future)
            else:  # Granted and cancelled in the same turn of the loop: pass the permit on.
                self._in_flight -= 1
                self._grant()
            raise

    def _has_room(self) -> bool:
        return self._in_flight < self.limit and self._clock() >= self._resume_s

    def _grant(self) -> None:
        while self._waiting and self._has_room():
            future = self._waiting.popleft()
            if not future.done():
                self._in_flight += 1
                future.set_result(None)
        remaining_s = self._resume_s - self._clock()
        if self._waiting and remaining_s > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(remaining_s, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._grant()
