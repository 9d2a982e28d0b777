"""Tests that metrics are read back once, and how rates are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.store.storage import Storage
from tasks.training.ranks.metrics import (
    Meter,
    MetricRecord,
    MetricsFile,
    count_flops_per_token,
    find_peak_flops,
    read_metrics,
)

PATH = "training/one.metrics.jsonl"


def add_steps(file: MetricsFile, steps: range, loss: float) -> None:
    for step in steps:
        file.add(MetricRecord(step=step, epoch=step / 10, loss=loss, learning_rate=1e-5))


def test_what_a_resumed_try_redoes_is_read_once(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = MetricsFile(storage, PATH)
    first.begin(0)
    first.add(MetricRecord(step=0, epoch=0.0, eval_loss=4.0))
    add_steps(first, range(1, 8), loss=3.0)
    second = MetricsFile(storage, PATH)
    second.begin(4)
    add_steps(second, range(5, 7), loss=2.0)
    records = read_metrics(storage, PATH)
    assert [record.step for record in records] == [0, 1, 2, 3, 4, 5, 6]
    assert [record.loss for record in records] == [None, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0]
    assert records[0].eval_loss == 4.0


def test_a_step_and_its_evaluation_are_one_record(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    file = MetricsFile(storage, PATH)
    add_steps(file, range(5, 6), loss=3.0)
    file.add(MetricRecord(step=5, epoch=0.5, eval_loss=2.5))
    record, *rest = read_metrics(storage, PATH)
    assert (record.loss, record.eval_loss, rest) == (3.0, 2.5, [])


def test_half_a_line_of_a_killed_process_is_left_out(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    add_steps(MetricsFile(storage, PATH), range(1, 3), loss=3.0)
    target = tmp_path / PATH
    target.write_bytes(target.read_bytes()[:-9])
    add_steps(MetricsFile(storage, PATH), range(2, 4), loss=1.0)
    assert [(r.step, r.loss) for r in read_metrics(storage, PATH)] == [(1, 3.0), (2, 1.0), (3, 1.0)]


def test_no_file_is_no_records(tmp_path: Path) -> None:
    assert read_metrics(Storage(str(tmp_path)), PATH) == []


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA A10G", 70),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("cpu", None),
    ],
)
def test_peaks_are_known_by_the_device_s_name(device: str, tflops: float | None) -> None:
    wanted = None if tflops is None else tflops * 1e12
    assert find_peak_flops(device) == wanted


def test_rates_are_over_the_time_since_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tasks.training.ranks.metrics.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tasks.training.ranks.metrics.measure_peak_memory_gib", lambda: 1.5)
    meter = Meter(count_flops_per_token(trained=10**9, frozen=0), 2, "NVIDIA H100 80GB HBM3")
    now[0] = 110.0
    meter.restart()  # what happened until now was no training
    now[0] = 112.0
    rates = meter.rate(tokens=80_000, trained=20_000, slots=100_000)
    assert rates["tokens_per_s"] == 40_000
    assert rates["trained_per_s"] == 10_000
    assert rates["padding_share"] == pytest.approx(0.2)
    assert rates["mfu"] == pytest.approx(6e9 * 40_000 / (2 * 989e12))
    assert rates["peak_memory_gib"] == 1.5


def test_a_frozen_weight_needs_no_gradient_of_its_own() -> None:
    assert count_flops_per_token(trained=1, frozen=10) == 46
