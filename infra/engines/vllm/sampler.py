"""Turns FlashInfer's sampler off where it could not be compiled.

On CUDA it is vLLM's default, and compiled when the first token is drawn: without ``nvcc``, or
without the C++ compiler that ``nvcc`` calls, the engine dies there. vLLM 0.32 reads
``VLLM_USE_FLASHINFER_SAMPLER`` whenever it asks; unset counts as on.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from infra.cluster.torch_build import read_torch_build

SWITCH = "VLLM_USE_FLASHINFER_SAMPLER"
_KERNELS = "flashinfer_jit_cache"
"""The package of kernels that are compiled already."""
_USUAL_PLACE = "/usr/local/cuda"


def settle_sampler() -> str:
    """Choose the sampler of the engines that this process starts; return what to tell, if any.

    A variable that is set is somebody's choice, and stays. Call it before an engine starts.
    """
    if read_torch_build().kind != "cuda" or SWITCH in os.environ:
        return ""
    missing = find_missing_compiler()
    if not missing or find_spec(_KERNELS) is not None:
        return ""
    os.environ[SWITCH] = "0"
    return f"FlashInfer's sampler is off, as there is no {missing} to compile it with"


def find_missing_compiler() -> str:
    """Return what is missing to compile for CUDA at run time, or nothing."""
    if find_nvcc() is None:
        return "nvcc"
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++"))):
        return "C++ compiler"
    return ""


def find_nvcc() -> str | None:
    """Return CUDA's compiler, looked for where FlashInfer looks."""
    given = os.environ.get("FLASHINFER_NVCC")
    if given:
        return shutil.which(given)
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        return shutil.which(str(Path(home) / "bin" / "nvcc"))
    return shutil.which("nvcc") or shutil.which(f"{_USUAL_PLACE}/bin/nvcc")
