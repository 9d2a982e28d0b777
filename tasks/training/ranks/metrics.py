"""Measures a training step by step and keeps the numbers as JSON lines at the storage root."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.store.storage import Storage, is_remote

_UPLOAD_EVERY_S = 30.0

_PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 PCIE": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H20": 148.0,
    "B200": 2250.0,
    "A100": 312.0,
    "A800": 312.0,
    "A40": 149.7,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "4090": 165.2,
    "3090": 71.0,
}
"""Dense bf16 peaks in TFLOP/s, from the vendor's data sheets; the first name found counts."""


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """One line of the metrics file: an optimiser step, an evaluation, or both.

    ``epoch`` counts passes over the rows. Tokens per second are over all ranks: ``tokens`` without
    padding, ``trained`` those with loss. ``mfu`` is the share of the devices' peak that the
    matrix products of the weights alone would need (attention left out, so it is a lower bound).
    """

    step: int
    epoch: float
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    trained_per_s: float | None = None
    padding_share: float | None = None
    mfu: float | None = None
    peak_memory_gib: float | None = None


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What the driver hears while the ranks train."""

    step: int
    steps: int
    record: MetricRecord
    eta_s: float | None
    resumed_at: int | None


class Meter:
    """Meter of a step's rates, from its counts; the clock runs between steps of this process."""

    def __init__(self, flops_per_token: int, devices: int, device: str) -> None:
        self._flops_per_token = flops_per_token
        peak = find_peak_flops(device)
        self._peak = None if peak is None else peak * devices
        self._last = time.monotonic()

    def restart(self) -> None:
        """Leave out of the rates what was no training: an evaluation, a checkpoint."""
        self._last = time.monotonic()

    def rate(self, tokens: int, trained: int, slots: int) -> dict[str, float | None]:
        """Return the rates of the step that ends now."""
        now = time.monotonic()
        seconds = max(now - self._last, 1e-9)
        self._last = now
        flops = self._flops_per_token * tokens / seconds
        return {
            "tokens_per_s": tokens / seconds,
            "trained_per_s": trained / seconds,
            "padding_share": 1 - tokens / slots if slots else 0.0,
            "mfu": None if self._peak is None else flops / self._peak,
            "peak_memory_gib": measure_peak_memory_gib(),
        }


def count_flops_per_token(trained: int, frozen: int) -> int:
    """Return what the products with the weights cost a token: 2 forward, 2 for each gradient.

    Attention is left out, and embeddings count like products: a common convention, 6 N.
    """
    return 6 * trained + 4 * frozen


def find_peak_flops(device: str) -> float | None:
    """Return a device's dense bf16 peak in FLOP/s, or ``None`` if it is not in the table."""
    name = device.upper()
    for part, tflops in _PEAK_TFLOPS.items():
        if part in name.replace("-", " ").split() or (" " in part and part in name):
            return tflops * 1e12
    return None


def measure_peak_memory_gib() -> float:
    """Return the most memory this rank ever held: of its GPU, or of the process on a CPU."""
    import resource

    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**30)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**30 if sys.platform == "darwin" else 2**20)


class MetricsFile:
    """File to append rank 0's records to. What a later try redoes is written again and read once.

    S3 cannot append: there the file is written whole, now and then and when asked to.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage, self._path = storage, path
        self._remote = is_remote(storage.root)
        self._lines: list[str] = []
        self._written = time.monotonic()
        if self._remote:
            self._lines = _read_lines(storage, path)

    def begin(self, step: int) -> None:
        """Say where training goes on, so that readers forget what came after that step."""
        self._append({"resumed_at": step})

    def add(self, record: MetricRecord) -> None:
        """Append a record."""
        self._append({key: value for key, value in asdict(record).items() if value is not None})

    def flush(self) -> None:
        """Make everything visible at the storage root."""
        if self._remote:
            self._storage.write_bytes(self._path, "".join(self._lines).encode())
            self._written = time.monotonic()

    def _append(self, values: dict[str, Any]) -> None:
        line = json.dumps(values) + "\n"
        if not self._remote:
            target = Path(self._storage.url(self._path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a+b") as file:
                if file.tell() and not _ends_line(target):
                    line = "\n" + line  # a killed process left half a line
                file.write(line.encode())
            return
        self._lines.append(line)
        if time.monotonic() - self._written > _UPLOAD_EVERY_S:
            self.flush()


def read_metrics(storage: Storage, path: str) -> list[MetricRecord]:
    """Read the records of a training in order of steps, each step once, the last try's."""
    merged: dict[int, dict[str, Any]] = {}
    for line in _read_lines(storage, path):
        try:
            values = json.loads(line)
        except ValueError:
            continue  # half a line of a killed process
        if "resumed_at" in values:
            merged = {step: kept for step, kept in merged.items() if step <= values["resumed_at"]}
        else:
            merged[values["step"]] = {**merged.get(values["step"], {}), **values}
    return [MetricRecord(**merged[step]) for step in sorted(merged)]


def _read_lines(storage: Storage, path: str) -> list[str]:
    try:
        return storage.read_bytes(path).decode("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
