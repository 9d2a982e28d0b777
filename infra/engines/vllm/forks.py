"""Forks the processes of a CPU engine from one that has imported vLLM.

An engine is three processes: the frontend with ``AsyncLLM``, the engine core, and the worker that
computes. Each would import vLLM for itself, which takes a slow core 12 to 18 s. So a fork server
imports it once, and all three are its forks. A run without a cluster starts one fork server for all
its engines; an engine that finds none, as on a cluster's node, starts its own. On GPUs vLLM's own
way stays, for there the weights take the time.

A fork differs from a spawned process, and what it lacks is made up for here: variables that were
set since, standard output and error, a tie to the process that asked for it, and OpenMP, which
reads its variables when it is loaded (:func:`_bind_threads`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing import connection, forkserver, parent_process, reduction
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.cluster.torch_build import read_torch_build

_IMPORTS = "infra.engines.vllm.imports"
_PRELOAD = "LD_PRELOAD"
_PLACES = ("GOMP_CPU_AFFINITY", "OMP_PLACES")
_ELEMENTS_PER_THREAD = 1 << 16
_LONGEST_ADDRESS = 100
_LOG_LINES = 5
_PR_SET_PDEATHSIG = 1


def can_fork() -> bool:
    """Tell whether engines of this machine are forked: CPU builds on Linux."""
    # Intel's OpenMP takes its binding from variables of its own only.
    others = any(name in os.environ.get(_PRELOAD, "") for name in ("libiomp", "libomp"))
    return sys.platform == "linux" and is_cpu_build() and not others


class ForkServer:
    """Fork server of the process that starts it.

    It ends with that process, if need be once it has imported, and its forks end with it.
    """

    def __init__(self) -> None:
        self._folder = _make_folder()
        self.address = str(self._folder / "forks")
        """Path of the socket at which :func:`use_fork_server` finds it."""
        self._log = self._folder / "log"
        given = os.environ.get(_PRELOAD, "")
        libraries = [*filter(None, given.split(":")), *_find_openmp(given)]
        # One thread: NumPy would start more when it is imported, and a fork has none of them.
        environment = {_PRELOAD: ":".join(libraries), "OMP_NUM_THREADS": "1"}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            alive, owner = os.pipe()
            self._alive: int | None = owner
            code = _CODE.format(
                path=sys.path,
                imports=_IMPORTS,
                folder=str(self._folder),
                listener=listener.fileno(),
                alive=alive,
            )
            # Ctrl-C is for the run, which stops its engines in order; forks inherit the mask.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with self._log.open("wb") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-c", code],
                        pass_fds=(listener.fileno(), alive),
                        env={**os.environ, **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
            except BaseException:
                os.close(owner)
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                os.close(alive)

    @property
    def is_alive(self) -> bool:
        """Tell whether the server can still be asked for forks."""
        return self._alive is not None and self._process.poll() is None

    def read_log(self) -> str:
        """Return the end of what the server has printed, which is why it died if it did."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:  # it was closed
            return ""
        return "\n".join(text.strip().splitlines()[-_LOG_LINES:])

    def close(self) -> None:
        """End the server and whatever forks are left; again does nothing."""
        if self._alive is None:
            return
        os.close(self._alive)
        self._alive = None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


_CODE = """
import shutil, sys
sys.path[:] = {path!r}
import {imports}
from multiprocessing.forkserver import main
try:
    main({listener}, {alive}, [])
finally:
    shutil.rmtree({folder!r}, ignore_errors=True)
"""
"""What a server runs. What it imports is no preload of ``main``, which passes over its errors."""


def _make_folder() -> Path:
    """Make a folder for a socket, whose path may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="opencharacter-"))
    if len(str(folder)) > _LONGEST_ADDRESS:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="opencharacter-", dir="/tmp"))
    return folder


def use_fork_server(address: str) -> None:
    """Take the forks of this process from the server with this address."""
    server = forkserver._forkserver
    server._forkserver_address = address  # type: ignore[attr-defined]
    if server._forkserver_alive_fd is None:  # type: ignore[attr-defined]
        # Handed on with every request, to keep a server alive; ours lives for its owner only.
        server._forkserver_alive_fd = os.open(os.devnull, os.O_WRONLY)  # type: ignore[attr-defined]
    _start_no_server()


def start_fork(address: str, target: Callable[..., None], *arguments: Any) -> EngineFork:
    """Run a function in a fork of the server with this address, once it has imported.

    Raises ``OSError`` or ``EOFError`` where no server answers.
    """
    use_fork_server(address)
    process = EngineFork(target=target, args=arguments)
    process.start()
    return process


def fork_engine_core() -> None:
    """Have vLLM fork engine core and worker in this process and its forks, not spawn them."""
    import vllm.v1.engine.utils
    import vllm.v1.executor.multiproc_executor

    vllm.v1.engine.utils.get_mp_context = EngineForks
    vllm.v1.executor.multiproc_executor.get_mp_context = EngineForks


def list_engine_processes() -> list[psutil.Process]:
    """Return this process and those of the engine it has started, forked or not."""
    if _Birth.is_fork:
        group = os.getpgrp()
        pids = [pid for pid in psutil.pids() if _group_of(pid) == group]
        return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


class EngineFork(ForkServerProcess):
    """Process that has the environment, output and error of the one that starts it."""

    _target: Callable[..., Any]

    def start(self) -> None:
        """Fork the process and begin."""
        self._target = partial(_run, _Birth(), self._target)
        super().start()


class EngineForks(ForkServerContext):
    """What vLLM takes its processes from."""

    Process = EngineFork


class _Birth:
    """What a fork gets from the process that asked for it."""

    is_fork = False
    """Of this process."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.group = os.getpgrp() if _Birth.is_fork else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _be_born, (
            self.environment,
            self.group,
            reduction.DupFd(1),
            reduction.DupFd(2),
        )


def _be_born(environment: dict[str, str], group: int, output: Any, error: Any) -> None:
    """Make a fork what it would be had it been spawned; runs when the fork reads its orders."""
    for stream, number in ((output, 1), (error, 2)):
        descriptor = stream.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    _Birth.is_fork = True
    # An engine's processes are a group: the frontend's.
    os.setpgid(0, group)


def _run(_birth: object, target: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Be the frontend, the engine core or the worker."""
    tie_to_parent()  # the fork server
    threading.Thread(target=_die_with_asker, daemon=True).start()
    _start_no_server()
    _bind_threads()
    target(*arguments, **named)


def tie_to_parent() -> None:
    """Have the kernel end this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_asker() -> None:
    """End this process when the one that asked for it ends, which is not its parent."""
    asker = parent_process()
    if asker is not None:
        connection.wait([asker.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _start_no_server() -> None:
    """Keep CPython 3.11 from starting another server for the forks of this process."""
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]


def _bind_threads() -> None:
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


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def is_cpu_build() -> bool:
    """Tell whether PyTorch, and so vLLM, is built for CPUs only."""
    return read_torch_build().kind == "cpu"


def _find_openmp(given: str) -> list[str]:
    """Return PyTorch's OpenMP library, which vLLM loads before all others for want of a second."""
    spec = find_spec("torch")
    if "libgomp" in given or spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    found = [*package.parent.glob("torch.libs/libgomp*.so*"), *package.glob("lib/libgomp*.so*")]
    return [str(path) for path in found[:1]]
