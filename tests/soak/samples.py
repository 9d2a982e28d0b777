"""Samples what the processes of a run hold in memory, and what its files take, as time goes by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

KINDS = {
    "worker": ("ray::StageWorker",),
    "engine": ("ScriptedActor", "VllmActor", "EngineActor"),
    "server": ("prefect.server.api.server",),
    "ray": ("raylet", "gcs_server", "dashboard", "ray::", "log_monitor", "monitor.py"),
}
"""What a process is, by the first kind one of whose words its command line holds."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """Sizes in MiB by kind, ``seconds`` after the start; ``rows`` were committed by then."""

    seconds: float
    rows: int
    sizes: Mapping[str, float]


def measure_memory(driver: psutil.Process) -> dict[str, float]:
    """Return the resident memory in MiB of a run's processes by kind; ``driver`` is its own."""
    sizes: dict[str, float] = {"driver": driver.memory_info().rss / MIB}
    for process in driver.children(recursive=True):
        try:
            words, size = " ".join(process.cmdline()), process.memory_info().rss / MIB
        except psutil.Error:
            continue
        kind = next((k for k, marks in KINDS.items() if any(m in words for m in marks)), "other")
        sizes[kind] = sizes.get(kind, 0.0) + size
    return sizes


def measure_files(**paths: Path) -> dict[str, float]:
    """Return the sizes in MiB of files and folders, by the names they are given."""
    return {name: _measure(path) / MIB for name, path in paths.items()}


def _measure(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of one kind over the second half of the samples, when all has warmed up.

    ``first`` and ``last`` are its means over the first and last quarter of that half, in MiB;
    ``slope`` is that of the line through all of it, in MiB a 100,000 rows and in MiB an hour.
    """

    kind: str
    first: float
    last: float
    per_rows: float
    per_hour: float


def measure_growth(samples: list[Sample]) -> list[Growth]:
    """Return how each kind grew over the second half of the samples; at least eight are needed."""
    half = samples[len(samples) // 2 :]
    if len(half) < 4:
        raise ValueError(
            f"{len(samples)} samples are too few to tell growth from noise: run longer"
        )
    quarter = max(1, len(half) // 4)
    seconds = np.array([sample.seconds for sample in half])
    rows = np.array([sample.rows for sample in half], dtype=float)
    found = []
    for kind in sorted({kind for sample in half for kind in sample.sizes}):
        sizes = np.array([sample.sizes.get(kind, 0.0) for sample in half])
        found.append(
            Growth(
                kind=kind,
                first=float(sizes[:quarter].mean()),
                last=float(sizes[-quarter:].mean()),
                per_rows=_slope(rows, sizes) * 100_000,
                per_hour=_slope(seconds, sizes) * 3600,
            )
        )
    return found


def _slope(over: np.ndarray, sizes: np.ndarray) -> float:
    spread = over - over.mean()
    return (
        float((spread * (sizes - sizes.mean())).sum() / (spread**2).sum()) if spread.any() else 0.0
    )


class Stopwatch:
    """Clock that says when the next sample is due."""

    def __init__(self, every_s: float) -> None:
        self._every, self._began = every_s, time.monotonic()
        self._next = self._began

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def is_due(self) -> bool:
        """Tell whether to sample now."""
        if time.monotonic() < self._next:
            return False
        self._next += self._every
        return True
