"""Proves that GPU memory is awaited, that who holds it is named, and which GPUs are looked at."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cluster.gpu_memory import GpuMemory, await_gpu_memory, read_gpu_gib, read_gpu_memory
from infra.errors import ClusterError

GIB = 2**30
FREE = GpuMemory("GPU 0", 80 * GIB, 1 * GIB)
HELD = GpuMemory("GPU 0", 80 * GIB, 70 * GIB, (os.getpid(), 2**22 + 1))


def test_memory_that_is_free_is_not_waited_for() -> None:
    await_gpu_memory(0.9, "wait", timeout_s=0, read=lambda: [FREE])
    await_gpu_memory(0.9, "wait", timeout_s=0, read=list)  # nothing is known: as without NVML


def test_memory_that_comes_free_ends_the_wait() -> None:
    readings = [[FREE, HELD], [FREE, HELD], [FREE, FREE]]
    await_gpu_memory(0.9, "wait", timeout_s=30, read=lambda: readings.pop(0))
    assert readings == []


def test_what_the_driver_keeps_for_itself_is_not_waited_for() -> None:
    whole = GpuMemory("GPU 0", 80 * GIB, 1 * GIB)
    await_gpu_memory(1.0, "wait", timeout_s=0, read=lambda: [whole])


def test_who_holds_it_is_named() -> None:
    with pytest.raises(ClusterError) as caught:
        await_gpu_memory(0.9, "lower it", timeout_s=0, read=lambda: [FREE, HELD])
    told = str(caught.value)
    assert "GPU 0 has 10.0 of 80.0 GiB free and 72.0 are needed" in told
    assert f"process {os.getpid()} (" in told and f"process {2**22 + 1}. " in told
    assert told.endswith("lower it.")


class FakeNvml:
    """Two GPUs, the second cut into slices; a third cannot tell its memory."""

    class NVMLError(Exception):
        """What NVML raises."""

    UUIDS = ("GPU-aa11", b"GPU-bb22", "GPU-cc33")
    MEMORY = {"GPU-aa11": 80, "GPU-bb22": 140, "MIG-5": 20}  # noqa: RUF012

    def __init__(self, works: bool = True) -> None:
        self._works = works
        self.open = 0

    def nvmlInit(self) -> None:
        if not self._works:
            raise self.NVMLError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        uuid = self.UUIDS[index]
        return uuid.decode() if isinstance(uuid, bytes) else uuid

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUUID(self, device: str) -> str | bytes:
        return device.encode() if device == "GPU-bb22" else device

    def nvmlDeviceGetMemoryInfo(self, device: str) -> Any:
        if device not in self.MEMORY:
            raise self.NVMLError("not supported")
        return SimpleNamespace(total=self.MEMORY[device] * GIB, used=GIB)

    def nvmlDeviceGetComputeRunningProcesses(self, device: str) -> list[Any]:
        if device.startswith("MIG"):
            raise self.NVMLError("no permission")
        return [SimpleNamespace(pid=7), SimpleNamespace(pid=7)]


@pytest.mark.parametrize(
    ("visible", "totals"),
    [
        (None, [80, 140]),  # the third says nothing
        ("", []),
        ("1", [140]),
        ("1,0", [140, 80]),
        ("GPU-bb", [140]),
        ("MIG-5", [20]),
        ("0,9,1", [80]),  # CUDA ends the list at what it does not know
        ("-1", []),
    ],
)
def test_only_gpus_that_are_visible_count(
    visible: str | None, totals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.total // GIB for gpu in read_gpu_memory()] == totals
    assert read_gpu_gib() == (min(totals) if totals else None)
    assert fake.open == 0


def test_holders_are_named_once_and_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,MIG-5")
    assert [gpu.holders for gpu in read_gpu_memory()] == [(7,), ()]


def test_without_nvml_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(works=False))
    assert read_gpu_memory() == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu_memory() == [] and read_gpu_gib() is None
