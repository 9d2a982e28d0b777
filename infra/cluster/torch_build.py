"""Reads what the PyTorch of this machine was built for, without importing it.

``torch/version.py`` says it in plain assignments. The version alone does not: wheels for CUDA and
for CPUs are both called ``2.13.0`` on one platform or another.
"""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Kind = Literal["cpu", "cuda", "rocm"]


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """What a PyTorch computes on; ``platform`` is the release of CUDA or ROCm it was built for."""

    version: str
    kind: Kind
    platform: str = ""

    def __str__(self) -> str:
        names = {"cpu": "for CPUs", "cuda": "for CUDA", "rocm": "for ROCm"}
        return f"PyTorch {self.version}, built {names[self.kind]} {self.platform}".rstrip()


@cache
def read_torch_build(package: Path | None = None) -> TorchBuild:
    """Return the build of an installed PyTorch, by default this environment's.

    Without PyTorch nothing computes on a GPU, so that counts as a build for CPUs.
    """
    if package is None:
        spec = find_spec("torch")
        if spec is None or spec.origin is None:
            return TorchBuild("(not installed)", "cpu")
        package = Path(spec.origin).parent
    told = runpy.run_path(str(package / "version.py"))
    name = str(told.get("__version__", "?"))
    if told.get("hip"):
        return TorchBuild(name, "rocm", str(told["hip"]))
    if told.get("cuda"):
        return TorchBuild(name, "cuda", str(told["cuda"]))
    return TorchBuild(name, "cpu")
