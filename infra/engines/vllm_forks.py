"""Forks the processes of a CPU engine from one that has imported vLLM, beside the actor.

An engine is three processes: the actor with ``AsyncLLM``, the engine core, and the worker that
computes. vLLM spawns the other two, one out of the other, and each imports vLLM for itself: on two
slow cores three times 12 s of a start of 40 s. Here a fork server imports while the actor does, and
the other two are its forks. On GPUs vLLM's own way stays, for there the weights take the time.

A fork differs from a spawned process in two things, and both are made up for: variables that were
set since, and OpenMP, which reads its variables when it is loaded (:func:`_bind_threads`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

_IMPORTS = "infra.engines.vllm_imports"
_PRELOAD = "LD_PRELOAD"
_PLACES = ("GOMP_CPU_AFFINITY", "OMP_PLACES")
_ELEMENTS_PER_THREAD = 1 << 16


def start_fork_server() -> bool:
    """Start importing in a process of its own, before this one does; tell whether it is of use."""
    if sys.platform != "linux" or not _is_cpu_build():
        return False
    given = os.environ.get(_PRELOAD, "")
    if "libiomp" in given or "libomp" in given:
        return False  # Intel's OpenMP takes its binding from variables of its own only
    libraries = [*filter(None, given.split(":")), *_find_openmp(given)]
    forkserver.set_forkserver_preload([_IMPORTS])
    # One thread: NumPy would start more when it is imported, and a fork has none of them.
    with _environment(**{_PRELOAD: ":".join(libraries), "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()
    return True


def fork_engine_core() -> None:
    """Have vLLM fork the engine core instead of spawning it; call it once vLLM is imported."""
    import vllm.v1.engine.utils

    vllm.v1.engine.utils.get_mp_context = EngineForks


class EngineFork(ForkServerProcess):
    """Is a process that has the environment that its parent had when it was started."""

    _target: Callable[..., Any]

    def start(self) -> None:
        """Fork the process and begin."""
        self._target = partial(_run, dict(os.environ), self._target)
        super().start()


class EngineForks(ForkServerContext):
    """Is what vLLM takes its processes from."""

    Process = EngineFork


def _run(
    environment: dict[str, str], target: Callable[..., Any], *arguments: Any, **named: Any
) -> None:
    """Be the engine core or the worker."""
    import vllm.v1.executor.multiproc_executor

    from infra.engines.vllm_server import die_with_parent

    os.environ.clear()
    os.environ.update(environment)
    die_with_parent()  # of the fork server, which dies with the actor
    # CPython 3.11 would start another server for the forks of a fork.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    vllm.v1.executor.multiproc_executor.get_mp_context = EngineForks
    _bind_threads()
    target(*arguments, **named)


def _bind_threads() -> None:
    """Do what OpenMP would have done with vLLM's variables: so many threads, a core for each.

    vLLM sets them for the worker only; the engine core stays free.
    """
    places = next((os.environ[name] for name in _PLACES if name in os.environ), "")
    cores = [int(core) for core in places.strip("{}").replace(",", " ").split()]
    if not cores:
        return
    import torch

    torch.set_num_threads(len(cores))
    before = set(os.listdir("/proc/self/task"))  # noqa: PTH208
    torch.zeros(len(cores) * _ELEMENTS_PER_THREAD).add_(1)  # OpenMP's threads begin with this
    helpers = sorted(set(os.listdir("/proc/self/task")) - before, key=int)  # noqa: PTH208
    for thread, core in zip([str(os.getpid()), *helpers], cores, strict=False):
        os.sched_setaffinity(int(thread), {core})


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables for what is started inside the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


def _is_cpu_build() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _find_openmp(given: str) -> list[str]:
    """Return PyTorch's OpenMP library, which vLLM loads before all others for want of a second."""
    spec = find_spec("torch")
    if "libgomp" in given or spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    found = [*package.parent.glob("torch.libs/libgomp*.so*"), *package.glob("lib/libgomp*.so*")]
    return [str(path) for path in found[:1]]
