"""Holds a vLLM engine whose processes are all forks, for an actor that need not import vLLM."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from infra.engines.config import ModelConfig
from infra.engines.core_binding import keep_to_cores
from infra.engines.protocol import Completion, Request
from infra.engines.socket_calls import SocketCalls, answer_calls
from infra.engines.vllm_forks import EngineFork, ForkServer, start_fork
from infra.engines.vllm_server import EngineFacts, VllmServer
from infra.errors import EngineError

_TITLE = "VLLM::Frontend"
_GRACE_S = 15


class ForkedServer:
    """Does what :class:`VllmServer` does, in a fork.

    Attributes:
        forks: Address of a fork server of this machine. One that is missing or does not answer is
            replaced by a server of this process's own.
    """

    def __init__(self, config: ModelConfig, forks: str | None) -> None:
        self._config, self._forks = config, forks
        self._own: ForkServer | None = None
        self._process: EngineFork | None = None
        self._calls: SocketCalls | None = None

    async def start(self) -> EngineFacts:
        """Load the model and return the engine's facts; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        near, far = socket.socketpair()
        with far:
            try:
                self._process, self._own = await asyncio.to_thread(
                    start_fork, self._forks, _serve, self._config, far
                )
            except BaseException:
                near.close()
                raise
        self._calls = await SocketCalls.over(near)
        facts: EngineFacts = await self._calls.call("start")
        if facts.spare_cores:
            keep_to_cores(facts.spare_cores)
        return replace(facts, start_s=time.monotonic() - began)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Begin answering requests; :meth:`collect` brings the answers."""
        await self._call("submit", requests)

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Return what was finished since the last call, by request id."""
        found: list[tuple[str, Completion | EngineError]] = await self._call("collect")
        return found

    async def stop(self) -> None:
        """Shut the engine down in order; :class:`EngineError` if it was dead already."""
        try:
            if self._calls is not None and self._process is not None:
                await self._calls.call("stop")
                self._calls.close()
                await asyncio.to_thread(self._process.join, _GRACE_S)
                self._process.kill()
        finally:
            if self._own is not None:
                self._own.close()

    async def _call(self, method: str, *arguments: Any) -> Any:
        if self._calls is None:
            raise EngineError(f"the engine of {self._config.model} was not started")
        return await self._calls.call(method, *arguments)


def _serve(config: ModelConfig, end: socket.socket) -> None:
    """Be the frontend."""
    import setproctitle

    setproctitle.setproctitle(_TITLE)
    asyncio.run(answer_calls(VllmServer(config), end))
