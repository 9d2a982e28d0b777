"""Has vLLM fork the processes of a CPU engine from the one that has imported it.

An engine is a frontend with ``AsyncLLM``, an engine core, and workers where there are several: one
worker is part of the core. vLLM spawns them on CPUs, and each imports vLLM for itself, which takes
a slow core 12 to 18 s. It knows how to fork as well, but a fork lacks what a spawned process gets,
and what is made up for here: a tie to its parent, and OpenMP's binding, which is read when the
library is loaded. On GPUs vLLM's own way stays, for there the weights take the time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from infra.cluster.torch_build import read_torch_build

METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
BORN_TO_FORK = "OPENCHARACTER_BORN_TO_FORK"
"""Variable of a process whose start suits forks, where its command line cannot say it."""

_PRELOAD = "LD_PRELOAD"
_PLACES = ("GOMP_CPU_AFFINITY", "OMP_PLACES")
_ELEMENTS_PER_THREAD = 1 << 16
_PR_SET_PDEATHSIG = 1


def is_cpu_build() -> bool:
    """Tell whether PyTorch, and so vLLM, is built for CPUs only."""
    return read_torch_build().kind == "cpu"


def can_fork() -> bool:
    """Tell whether engines of this machine are forked: CPU builds on Linux."""
    # Intel's OpenMP takes its binding from variables of its own only.
    others = any(name in os.environ.get(_PRELOAD, "") for name in ("libiomp", "libomp"))
    return sys.platform == "linux" and is_cpu_build() and not others


def describe_birth() -> dict[str, str]:
    """Return the variables that a process needs from its start to be forked later.

    PyTorch's OpenMP comes before all others, as vLLM wants it, and with one thread: NumPy would
    start more when it is imported, and a fork has none of them.
    """
    given = os.environ.get(_PRELOAD, "")
    libraries = [*filter(None, given.split(":")), *_find_openmp(given)]
    return {_PRELOAD: ":".join(libraries), "OMP_NUM_THREADS": "1"}


def fork_engine_processes() -> None:
    """Have vLLM fork its processes in this one, which was born as :func:`describe_birth` says.

    Call it when vLLM's configuration is made, which sets the contrary.
    """
    os.environ[METHOD] = "fork"
    os.register_at_fork(after_in_child=_be_born)


def _be_born() -> None:
    tie_to_parent()
    bind_threads()


def tie_to_parent() -> None:
    """Have the kernel end this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bind_threads() -> None:
    """Do what OpenMP would have done with vLLM's variables: so many threads, a core for each.

    vLLM sets them for the worker only. Other notations, which people use, bind nothing.
    """
    places = next((os.environ[name] for name in _PLACES if name in os.environ), "")
    words = places.strip("{}").replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        return
    cores = [int(word) for word in words]
    import torch

    torch.set_num_threads(len(cores))
    before = set(os.listdir("/proc/self/task"))  # noqa: PTH208
    torch.zeros(len(cores) * _ELEMENTS_PER_THREAD).add_(1)  # OpenMP's threads begin with this
    helpers = sorted(set(os.listdir("/proc/self/task")) - before, key=int)  # noqa: PTH208
    for thread, core in zip([str(os.getpid()), *helpers], cores, strict=False):
        os.sched_setaffinity(int(thread), {core})


def _find_openmp(given: str) -> list[str]:
    """Return PyTorch's OpenMP library, which vLLM loads before all others for want of a second."""
    spec = find_spec("torch")
    if "libgomp" in given or spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    found = [*package.parent.glob("torch.libs/libgomp*.so*"), *package.glob("lib/libgomp*.so*")]
    return [str(path) for path in found[:1]]
