"""Splits the global batch over ranks and accumulation, and orders the rows of every epoch.

The global batch is the knob: step k learns from the stream positions
``[k * global_batch, (k + 1) * global_batch)``, whatever the number of ranks, the micro batch and
the accumulation. accelerate deals whole micro batches out to the ranks in turn, so those positions
are exactly the micro batches of one optimiser step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from infra.cluster.devices import Devices
from infra.errors import ConfigError, Problem
from infra.store.fingerprints import hash_parts
from tasks.training.config import TrainingConfig

_CPU_RANKS = 2
"""Ranks that `auto` starts on CPUs. Two are enough for training to go the way it goes on a cluster
(sharded states, gathered losses), and cores beyond them become threads of theirs."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a global batch is worked off; ``global_batch = ranks * micro * accumulation``."""

    ranks: int
    micro_batch: int
    accumulation: int

    @property
    def global_batch(self) -> int:
        """Return the rows of one optimiser step, all ranks together."""
        return self.ranks * self.micro_batch * self.accumulation


def choose_ranks(config: TrainingConfig, devices: Devices) -> int:
    """Return how many ranks train: as many as configured, or as suit what there is.

    ``auto`` takes a rank a GPU, or two on CPUs, but no more than can share a global batch evenly.
    """
    if config.workers != "auto":
        return config.workers
    most = devices.gpus if devices.on_gpus else min(_CPU_RANKS, devices.cpus)
    return max((n for n in range(2, most + 1) if _can_split(config, n)), default=1)


def list_ranks(config: TrainingConfig) -> tuple[int, ...]:
    """Return the numbers of ranks that can share a global batch evenly, the smallest first."""
    return tuple(n for n in range(1, config.global_batch + 1) if _can_split(config, n))


def least_ranks(config: TrainingConfig) -> int:
    """Return how many ranks train at least, which is known before there is a cluster."""
    return 1 if config.workers == "auto" else config.workers


def _can_split(config: TrainingConfig, ranks: int) -> bool:
    share, rest = divmod(config.global_batch, ranks)
    return not rest and (config.micro_batch is None or share % config.micro_batch == 0)


def plan_batches(config: TrainingConfig, ranks: int) -> BatchPlan:
    """Derive micro batch and accumulation from the global batch.

    Raises :class:`ConfigError` when the global batch cannot be split evenly: a rank with fewer
    rows would wait, and a step would learn from other rows than on another machine.
    """
    total = config.global_batch
    if total % ranks:
        fits = max(n for n in range(1, ranks + 1) if total % n == 0)
        raise ConfigError(
            Problem(
                "training.global_batch",
                f"{total} rows cannot be split evenly over {ranks} ranks",
                f"make it a multiple of {ranks}, or set training.workers to {fits}",
            )
        )
    share = total // ranks
    micro = config.micro_batch
    if micro is None:
        most = max(1, config.micro_batch_tokens // config.max_length)
        micro = max(n for n in range(1, min(share, most) + 1) if share % n == 0)
    elif share % micro:
        raise ConfigError(
            Problem(
                "training.micro_batch",
                f"a rank's {share} rows of a step cannot be split into micro batches of {micro}",
                f"choose a divisor of {share}, or leave it out and have the largest that fits",
            )
        )
    return BatchPlan(ranks=ranks, micro_batch=micro, accumulation=share // micro)


def count_steps(rows: int, epochs: float, global_batch: int) -> int:
    """Return the optimiser steps of a run; the last one borrows rows from the next epoch."""
    # Rounded first: 0.1 epochs of 640 rows are 64, not 64.00000000000001.
    return max(1, math.ceil(round(rows * epochs, 6) / global_batch))


def find_epoch_ends(rows: int, epochs: float, global_batch: int) -> tuple[int, ...]:
    """Return the steps after which one more epoch is complete, the last step included."""
    total = count_steps(rows, epochs, global_batch)
    whole = (math.ceil(epoch * rows / global_batch) for epoch in range(1, math.ceil(epochs) + 1))
    return tuple(sorted({min(step, total) for step in whole} | {total}))


def order_epoch(rows: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the rows in one epoch.

    numpy's legacy generator is frozen for good, so an order stays what it was over versions.
    """
    import numpy as np

    number = int(hash_parts("row order", str(seed), str(epoch))[:8], 16)
    order: list[int] = np.random.RandomState(number).permutation(rows).tolist()
    return order


def stream_rows(rows: int, seed: int, count: int) -> Iterator[int]:
    """Yield the first ``count`` rows of the endless stream of seeded epochs."""
    for epoch in range(math.ceil(count / rows)):
        yield from order_epoch(rows, seed, epoch)[: count - epoch * rows]


class StreamSampler:
    """The stream as a sampler: all steps of a run at once, so that resuming only skips."""

    def __init__(self, rows: int, seed: int, count: int) -> None:
        self._rows, self._seed, self._count = rows, seed, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return stream_rows(self._rows, self._seed, self._count)
