"""Imports vLLM once, and forks a host from that for each engine that is asked for.

A run without a cluster starts one zygote for all its engines; an engine that finds none, as on a
cluster's node, starts its own. Whoever wants a host connects to the zygote's socket, sends an
order with its own output and error, and then calls the object that the host has made over the same
connection (:mod:`infra.engines.vllm.socket_calls`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from infra.engines.vllm.forking import describe_birth, tie_to_parent
from infra.engines.vllm.socket_calls import answer_calls
from infra.temporary_folders import take_folder

_IMPORTS = "infra.engines.vllm.imports"
_LONGEST_ADDRESS = 100
_LOG_LINES = 5
_GRACE_S = 15.0
_NUMBER = struct.Struct("<Q")


class Zygote:
    """Process that hosts are forked from, for the process that starts it.

    It ends with that process, if need be once it has imported, and its hosts end with it.
    """

    def __init__(self, imports: str = _IMPORTS) -> None:
        self._folder = _make_folder()
        self.address = str(self._folder / "zygote")
        """Path of the socket at which :func:`start_host` finds it."""
        self._log = self._folder / "log"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            alive, owner = os.pipe()
            self._alive: int | None = owner
            arguments = f"{imports!r}, {str(self._folder)!r}, {listener.fileno()}, {alive}"
            code = (
                f"import sys; sys.path[:] = {sys.path!r}\n"
                f"from {__name__} import run_zygote; run_zygote({arguments})"
            )
            # Ctrl-C is for the run, which stops its engines in order; forks inherit the mask.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with self._log.open("wb") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-c", code],
                        pass_fds=(listener.fileno(), alive),
                        env={**os.environ, **describe_birth()},
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
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Tell whether it can still be asked for hosts."""
        return self._alive is not None and self._process.poll() is None

    def read_log(self) -> str:
        """Return the end of what it has printed, which is why it died if it did."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:  # it was closed
            return ""
        return "\n".join(text.strip().splitlines()[-_LOG_LINES:])

    def close(self) -> None:
        """End it and whatever hosts are left; again does nothing."""
        if self._alive is None:
            return
        os.close(self._alive)
        self._alive = None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Order:
    """What a host is to be: an object that is made by ``make``, with the asker's surroundings."""

    title: str
    make: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: str = field(default_factory=os.getcwd)


@dataclass(frozen=True, slots=True)
class Host:
    """Process that was forked for this one, and the connection over which it is called."""

    pid: int
    connection: socket.socket
    handle: int

    def await_end(self, timeout_s: float = _GRACE_S) -> bool:
        """Wait until it has ended; false if it has not by then."""
        watch = select.poll()
        watch.register(self.handle, select.POLLIN)
        return bool(watch.poll(timeout_s * 1000))

    def kill(self) -> None:
        """End it at once if it has not ended, and wait until it has; to be called once."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        self.await_end()
        os.close(self.handle)


def start_host(address: str, order: Order) -> Host:
    """Have the zygote at this address fork a host, once it has imported.

    Raises ``OSError`` where there is none, or where it dies before it has.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        data = pickle.dumps(order, pickle.HIGHEST_PROTOCOL)
        socket.send_fds(connection, [_NUMBER.pack(len(data))], [1, 2])
        connection.sendall(data)
        (pid,) = _NUMBER.unpack(_read(connection, _NUMBER.size))
        return Host(pid, connection, os.pidfd_open(pid))
    except BaseException:
        connection.close()
        raise


def run_zygote(imports: str, folder: str, listener: int, alive: int) -> None:
    """Be the zygote, and in its forks a host."""
    import_module(imports)
    gc.freeze()
    connection = _fork_hosts(socket.socket(fileno=listener), alive)
    if connection is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _be_host(connection)


def _fork_hosts(listener: socket.socket, alive: int) -> socket.socket | None:
    """Fork a host for each connection; returns in the host, and without one when the owner ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries hosts
    while alive not in select.select([listener.fileno(), alive], [], [])[0]:
        connection, _ = listener.accept()
        try:
            child = os.fork()
        except OSError:  # no memory, no process left: the asker is told so by the closed connection
            traceback.print_exc()
            child = -1
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            os.close(alive)
            return connection
        connection.close()
    return None


def _be_host(connection: socket.socket) -> None:
    """Be what the order says until the other end closes the connection."""
    tie_to_parent()
    size, descriptors, _, _ = socket.recv_fds(connection, _NUMBER.size, 2)
    order: Order = pickle.loads(_read(connection, *_NUMBER.unpack(size)))
    for number, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.folder)
    os.setpgid(0, 0)
    import setproctitle

    setproctitle.setproctitle(order.title)
    threading.Thread(target=_end_with, args=(connection.dup(),), daemon=True).start()
    connection.sendall(_NUMBER.pack(os.getpid()))
    asyncio.run(_answer(order, connection))


async def _answer(order: Order, connection: socket.socket) -> None:
    await answer_calls(order.make(*order.arguments), connection)


def _end_with(connection: socket.socket) -> None:
    """End this process if it does not by itself when the asker is gone, as while it loads."""
    watch = select.poll()
    watch.register(connection, select.POLLRDHUP)
    watch.poll()
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            raise ConnectionResetError("the other end is gone")
        data += block
    return bytes(data)


def _make_folder() -> Path:
    """Make a folder for a socket, whose path may not be long."""
    folder = take_folder("zygote")
    if len(str(folder)) > _LONGEST_ADDRESS:
        folder.rmdir()
        folder = take_folder("zygote", Path("/tmp"))
    return folder
