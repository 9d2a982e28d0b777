"""Reads how full GPUs are, and waits until their memory is free; the only door to NVML.

Ray gives a GPU back as soon as the actor that held it is gone. Its memory may be held for seconds
longer, by processes that are still ending, and whoever comes next would die of it. Without NVML
(no driver, no ``pynvml``, another maker's GPU) nothing is known and nobody waits.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.errors import ClusterError

_TIMEOUT_S = 60.0
_POLL_S = 0.5
_TOLERANCE = 0.02
"""NVML counts what the driver keeps for itself, which CUDA leaves out of a GPU's total."""


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """How full one GPU is, in bytes, and the processes that hold some of it."""

    name: str
    total: int
    used: int
    holders: tuple[int, ...] = ()

    @property
    def free_share(self) -> float:
        """Return the share of its memory that is free."""
        return 1 - self.used / self.total if self.total else 1.0


def read_gpu_memory() -> list[GpuMemory]:
    """Return the GPUs that this process may use; none where NVML cannot tell.

    ``CUDA_VISIBLE_DEVICES`` counts, with its indices, UUIDs and MIG slices. Indices are NVML's,
    by place on the bus; where GPUs differ, ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` has CUDA count alike.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = list(_find_devices(pynvml, visible))
        return [memory for name, device in found for memory in _read(pynvml, name, device)]
    except pynvml.NVMLError:
        return []
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def read_gpu_gib() -> float | None:
    """Return the memory of the smallest GPU that this process may use, if it can be known."""
    return min((gpu.total / 2**30 for gpu in read_gpu_memory()), default=None)


def await_gpu_memory(
    share: float,
    todo: str,
    *,
    timeout_s: float = _TIMEOUT_S,
    read: Callable[[], Sequence[GpuMemory]] = read_gpu_memory,
) -> None:
    """Wait until this share of every GPU that this process may use is free.

    Raises :class:`ClusterError` that names who holds the memory, and ends with ``todo``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        full = [gpu for gpu in read() if gpu.free_share < share - _TOLERANCE]
        if not full:
            return
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"on {platform.node()}, after {timeout_s:.0f} s: "
                + "; ".join(_describe(gpu, share) for gpu in full)
                + f". End what holds it, or {todo}."
            )
        time.sleep(_POLL_S)


def _describe(gpu: GpuMemory, share: float) -> str:
    total, free = gpu.total / 2**30, (gpu.total - gpu.used) / 2**30
    holders = ", ".join(map(_name_process, gpu.holders)) or "processes without a name"
    return (
        f"{gpu.name} has {free:.1f} of {total:.1f} GiB free and {share * total:.1f} are needed,"
        f" held by {holders}"
    )


def _name_process(pid: int) -> str:
    """Name a process by its id; one of another container has no name here."""
    with suppress(psutil.Error):
        return f"process {pid} ({psutil.Process(pid).name()})"
    return f"process {pid}"


def _find_devices(nvml: Any, visible: str | None) -> Iterator[tuple[str, Any]]:
    """Yield the visible devices with their names; the first that is unknown ends the list."""
    count = nvml.nvmlDeviceGetCount()
    if visible is None:
        yield from ((f"GPU {n}", nvml.nvmlDeviceGetHandleByIndex(n)) for n in range(count))
        return
    for name in (item.strip() for item in visible.split(",")):
        if name.isdecimal() and int(name) < count:
            yield f"GPU {name}", nvml.nvmlDeviceGetHandleByIndex(int(name))
        elif name.startswith("MIG-"):
            yield name, nvml.nvmlDeviceGetHandleByUUID(name)
        elif name.startswith("GPU-"):  # the beginning of one is enough for CUDA
            devices = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(count)]
            yield from ((name, one) for one in devices if _read_uuid(nvml, one).startswith(name))
        else:
            return


def _read_uuid(nvml: Any, device: Any) -> str:
    uuid = nvml.nvmlDeviceGetUUID(device)
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _read(nvml: Any, name: str, device: Any) -> list[GpuMemory]:
    """Return what is known of a device: nothing where its memory is the machine's own."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    except nvml.NVMLError:
        return []
    pids: tuple[int, ...] = ()
    with suppress(nvml.NVMLError):
        running = nvml.nvmlDeviceGetComputeRunningProcesses(device)
        pids = tuple(sorted({int(process.pid) for process in running}))
    return [GpuMemory(name, int(memory.total), int(memory.used), pids)]
