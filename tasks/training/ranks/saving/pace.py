"""Decides when the next checkpoint is due: by minutes, and never so often that it costs much."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.03
"""Most of a training's time that goes into waiting for checkpoints."""


class CheckpointPace:
    """Clock of checkpoints: due every so many minutes, later where writing one takes longer.

    After one that held the training up for t seconds the next comes t / ``SHARE`` later at the
    soonest, however large the model and however slow the disk.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least_s = 60 * minutes
        self._clock = clock
        self._last = clock()
        self._cost_s = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        return self._clock() - self._last >= max(self._least_s, self._cost_s / SHARE)

    def note(self, seconds: float) -> None:
        """Note that a checkpoint was written now, for which the training stood still so long."""
        self._last, self._cost_s = self._clock(), seconds
