"""Finds the processes of a run that faults strike, and strikes them."""

from __future__ import annotations

import signal
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

MARKS = {
    "engine core": "EngineCore",
    "engine frontend": "VLLM::Frontend",
    "engine actor": "ray::VllmActor",
    "zygote": "infra.engines.vllm.imports",
    "stage worker": "ray::StageWorker",
    "training rank": "RayTrainWorker",
    "Prefect server": "prefect.server.api.server",
    "raylet": "/raylet/raylet",
    "GCS": "gcs_server",
}
"""Words of a command line by what it is."""

DRIVER = "driver"


def find_victims(driver: int, kind: str) -> list[psutil.Process]:
    """Return the processes of a kind below a run, the oldest first; none if it is over."""
    with suppress(psutil.NoSuchProcess):
        run = psutil.Process(driver)
        if kind == DRIVER:
            return [run]
        found = [child for child in run.children(recursive=True) if _is_a(child, kind)]
        return sorted(found, key=lambda process: float(process.create_time()))
    return []


def _is_a(process: psutil.Process, kind: str) -> bool:
    with suppress(psutil.Error):
        words = " ".join([process.name(), *process.cmdline()])
        return MARKS[kind] in words and process.status() != psutil.STATUS_ZOMBIE
    return False


def strike(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone by now."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def squeeze(process: psutil.Process) -> None:
    """Let a process have no more memory than it has: what it asks for next is refused."""
    with suppress(psutil.NoSuchProcess):
        size = process.memory_info().vms
        process.rlimit(psutil.RLIMIT_AS, (size, size))


def is_gone(process: psutil.Process) -> bool:
    """Tell whether a process has ended."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True
