"""Hands out pending rows as chunk leases, so that rows with a shared prefix stay together.

Rows come sorted by group (a character's rows share their prompt's beginning). Each worker owns a
contiguous stretch and takes chunks from its front, so a group's rows meet in one engine's prefix
cache; a worker whose stretch is used up takes from the end of the longest other one.

What a lease costs beside its rows (calls, a part, its report) is about that of 50 quick rows: so a
worker that is done with one within a second gets twice as many rows with the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Lease:
    """Chunk of row numbers lent to one worker until it reports.

    ``finished`` is how many of them are known to be finished, by the last that was heard.
    """

    worker: int
    rows: list[int]
    finished: int = 0


FIRST_ROWS = 64
MOST_ROWS = 1024
"""Rows of a lease, before anything is known of a worker's pace, and at most."""

_QUICK_S = 1.0
_SLOW_S = 4.0


@dataclass(eq=False)
class LeaseBook:
    """Record of which rows are waiting, and which are lent to whom.

    ``sizes`` are the rows that each worker is lent at once.
    """

    sizes: list[int]
    queues: list[deque[int]]
    open: list[Lease] = field(default_factory=list)

    @classmethod
    def divide(cls, rows: Sequence[int], workers: int, chunk_rows: int) -> LeaseBook:
        """Cut the rows into one contiguous stretch a worker."""
        share = -(-len(rows) // workers) if rows else 0
        stretches = [deque(rows[n * share : (n + 1) * share]) for n in range(workers)]
        return cls([chunk_rows] * workers, stretches)

    @property
    def waiting(self) -> int:
        """Return how many rows are lent to nobody."""
        return sum(len(queue) for queue in self.queues)

    def open_rows(self, worker: int) -> int:
        """Return how many rows a worker holds that are not known to be finished."""
        return sum(
            max(0, len(lease.rows) - lease.finished)
            for lease in self.open
            if lease.worker == worker
        )

    def lend(self, worker: int) -> Lease | None:
        """Lend the next chunk to a worker, or nothing if no row waits."""
        queue, own = self.queues[worker], True
        if not queue:
            queue, own = max(self.queues, key=len), False
        if not queue:
            return None
        size = min(self.sizes[worker], len(queue))
        rows = [queue.popleft() if own else queue.pop() for _ in range(size)]
        lease = Lease(worker, rows if own else rows[::-1])
        self.open.append(lease)
        return lease

    def close(self, lease: Lease) -> None:
        """End a lease whose rows were reported."""
        self.open.remove(lease)

    def fit(self, lease: Lease, seconds: float) -> None:
        """Choose how much a worker is lent from now on, by how long it had a lease that is done."""
        size = self.sizes[lease.worker]
        if seconds < _QUICK_S and len(lease.rows) == size:
            self.sizes[lease.worker] = max(size, min(2 * size, MOST_ROWS))
        elif seconds > _SLOW_S:
            self.sizes[lease.worker] = min(size, max(size // 2, FIRST_ROWS))

    def take_back(self, worker: int, rows: Iterable[int]) -> None:
        """Put rows back at the front of a worker's stretch, in their order."""
        self.queues[worker].extendleft(sorted(rows, reverse=True))

    def move(self, worker: int, rows: Iterable[int], to: int) -> None:
        """Take rows out of a worker's leases and put them at the front of another's stretch."""
        moved = set(rows)
        for lease in self.open:
            if lease.worker == worker:
                lease.rows = [row for row in lease.rows if row not in moved]
        self.take_back(to, moved)

    def busiest(self) -> int | None:
        """Return the worker that holds the most rows, if any holds some."""
        held = {lease.worker for lease in self.open}
        return max(held, key=self.open_rows) if held else None
