"""Says what this machine computes with, and keeps figures with it."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any


def describe_hardware() -> str:
    """Return GPUs, if any, and CPUs: how many of which."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpus = f"{os.cpu_count()} × {names[0] if names else platform.machine()}"
    gpus = count_gpus()
    return f"{gpus} × {describe_gpu()}, {cpus}" if gpus else cpus


def count_gpus() -> int:
    """Return how many GPUs PyTorch can use here.

    Asks the driver without starting CUDA: vLLM's engine is forked from who asked, and a process
    forked from one that has CUDA up cannot use it.
    """
    import torch

    return int(torch.cuda.device_count())


def describe_gpu() -> str:
    """Return the first GPU's name and memory in GiB."""
    import torch

    facts = torch.cuda.get_device_properties(0)
    return f"{facts.name} ({facts.total_memory / 2**30:.0f} GiB)"


def save_record(path: Path, module: str, load: float, found: dict[str, Any]) -> None:
    """Write figures as JSON, with date, command, hardware, and the load before and after.

    ``module`` is the benchmark's, and ``load`` this machine's when it began.
    """
    record = {
        "date": date.today().isoformat(),
        "command": " ".join(["python -m", module, *sys.argv[1:]]),
        "hardware": describe_hardware(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        **found,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
