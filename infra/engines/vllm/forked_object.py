"""Holds an object in a fork that has imported vLLM, and calls its asynchronous methods."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from infra.engines.vllm.forks import EngineFork, ForkServer, start_fork
from infra.engines.vllm.socket_calls import SocketCalls, answer_calls
from infra.errors import EngineError

_GRACE_S = 15


class ForkedObject:
    """Process with one object, and the connection to it.

    ``name`` is what errors call it. ``forks`` is the address of a fork server of this machine; one
    that is missing or does not answer is replaced by a server of this process's own.
    """

    def __init__(self, name: str, forks: str | None = None) -> None:
        self._name, self._forks = name, forks
        self._own: ForkServer | None = None
        self._process: EngineFork | None = None
        self._calls: SocketCalls | None = None

    async def start(self, title: str, make: Callable[..., Any], *arguments: Any) -> None:
        """Fork a process of this title and have it make the object.

        Raises :class:`EngineError` if vLLM cannot be imported. When this is interrupted nothing is
        left that the process would wait for at its end.
        """
        near, far = socket.socketpair()
        try:
            with far:
                await asyncio.to_thread(self._fork, title, make, arguments, far)
            self._calls = await SocketCalls.over(near)
        except BaseException:
            near.close()
            await self.kill()
            raise

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the object's method returns; see :meth:`SocketCalls.call`."""
        if self._calls is None:
            raise EngineError(f"{self._name} was not started")
        return await self._calls.call(method, *arguments)

    async def close(self, last: str) -> None:
        """Call a last method and end the process; :class:`EngineError` if it was dead already."""
        try:
            if self._calls is not None and self._process is not None:
                await self._calls.call(last)
                await self._calls.close()
                await asyncio.to_thread(self._process.join, _GRACE_S)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End the process at once, and the server that was started for it; again does nothing."""
        if self._process is not None:
            self._process.kill()
        if self._calls is not None:
            await self._calls.close()
        if self._own is not None:
            self._own.close()

    def _fork(
        self, title: str, make: Callable[..., Any], arguments: tuple[Any, ...], end: socket.socket
    ) -> None:
        if self._forks is not None:
            with suppress(OSError, EOFError):  # another machine's, gone, or dies meanwhile
                self._process = start_fork(self._forks, _live, title, make, arguments, end)
                return
        self._own = ForkServer()
        try:
            self._process = start_fork(self._own.address, _live, title, make, arguments, end)
        except (OSError, EOFError) as error:
            why = self._own.read_log() or error
            raise EngineError(f"the process that imports vLLM died: {why}") from error


def _live(
    title: str, make: Callable[..., Any], arguments: tuple[Any, ...], end: socket.socket
) -> None:
    """Be the process."""
    import setproctitle

    setproctitle.setproctitle(title)
    asyncio.run(_answer(make, arguments, end))


async def _answer(make: Callable[..., Any], arguments: tuple[Any, ...], end: socket.socket) -> None:
    await answer_calls(make(*arguments), end)
