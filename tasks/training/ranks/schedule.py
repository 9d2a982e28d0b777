"""Lets the learning rate fall linearly from its peak to a last value that is reached exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """Learning rate of every optimiser step: a warm-up in stairs, then a linear fall.

    The last step uses exactly ``final``, as the paper's does (section 3: 1e-5 to 1e-6), where the
    ``linear`` schedule of transformers ends at 0. The warm-up never uses rate 0, and never takes
    the last step. A run of a single step uses the peak.
    """

    total_steps: int
    warmup_share: float
    peak: float
    final: float

    @property
    def warmup_steps(self) -> int:
        """Return how many steps warm up."""
        return min(math.ceil(self.total_steps * self.warmup_share), self.total_steps - 1)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step; steps count from 0, later ones keep the last."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        falls = self.total_steps - self.warmup_steps - 1
        if falls == 0:
            return self.peak if self.warmup_steps == 0 else self.final
        done = min(step - self.warmup_steps, falls) / falls
        return min(self.peak, self.peak * (1.0 - done) + self.final * done)
