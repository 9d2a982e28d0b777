"""Holds a vLLM engine in a host process of its own, for an actor that need not import vLLM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from infra.engines.config import ModelConfig
from infra.engines.core_binding import keep_to_cores
from infra.engines.vllm.server import EngineFacts, VllmServer
from infra.engines.vllm.socket_calls import SocketCalls
from infra.engines.vllm.zygote import Host, Order, Zygote, start_host
from infra.errors import EngineError
from infra.protocol import Completion, Request

_TITLE = "VLLM::Frontend"
_MAKE = partial(VllmServer, forks=True)
_COLLECT_S = 10.0
"""More than :meth:`VllmServer.collect` ever takes."""


class HostedServer:
    """Stand-in for a :class:`VllmServer` in a host.

    ``zygote`` is the address of one of this machine; one that is missing or does not answer is
    replaced by one of this process's own.
    """

    def __init__(
        self,
        config: ModelConfig,
        zygote: str | None = None,
        *,
        make: Callable[..., Any] = _MAKE,
        start_zygote: Callable[[], Zygote] = Zygote,
    ) -> None:
        self._config, self._make = config, make
        self._zygote, self._start_zygote = zygote, start_zygote
        self._own: Zygote | None = None
        self._host: Host | None = None
        self._calls: SocketCalls | None = None

    async def start(self) -> EngineFacts:
        """Load the model and return the engine's facts; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        finding = asyncio.ensure_future(asyncio.to_thread(self._find_host))
        try:
            self._host = await asyncio.shield(finding)
            self._calls = await SocketCalls.over(self._host.connection)
            facts: EngineFacts = await self._calls.call("start")
        except BaseException:
            if self._own is not None:
                self._own.close()  # whom the thread may be waiting for
            with suppress(EngineError):
                self._host = await finding
            await self._kill()
            raise
        if facts.spare_cores:
            keep_to_cores(facts.spare_cores)
        return replace(facts, start_s=time.monotonic() - began)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Begin answering requests; :meth:`collect` brings the answers."""
        await self._call("submit", requests)

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Return what was finished since the last call, by request id.

        A host that does not answer at all is killed, and that is an :class:`EngineError`.
        """
        patience_s = self._config.stall_timeout_s + _COLLECT_S
        try:
            call = self._call("collect")
            found: list[tuple[str, Completion | EngineError]]
            found = await asyncio.wait_for(call, patience_s)
        except TimeoutError:
            await self._kill()
            raise EngineError(
                f"the engine's process did not answer for {patience_s:.0f} s "
                "(stall_timeout_s of its model)"
            ) from None
        return found

    async def stop(self) -> None:
        """Shut the engine down in order; :class:`EngineError` if it was dead already."""
        try:
            if self._calls is not None and self._host is not None:
                await self._calls.call("stop")
                await self._calls.close()
                await asyncio.to_thread(self._host.await_end)
        finally:
            await self._kill()

    async def _call(self, method: str, *arguments: Any) -> Any:
        if self._calls is None:
            raise EngineError(f"the engine of {self._config.model} was not started")
        return await self._calls.call(method, *arguments)

    async def _kill(self) -> None:
        host, self._host = self._host, None
        if self._calls is not None:
            await self._calls.close()
        if host is not None:
            await asyncio.to_thread(host.kill)
        if self._own is not None:
            self._own.close()

    def _find_host(self) -> Host:
        order = Order(_TITLE, self._make, (self._config,))
        if self._zygote is not None:
            with suppress(OSError):  # another machine's, gone, or dies meanwhile
                return start_host(self._zygote, order)
        self._own = self._start_zygote()
        try:
            return start_host(self._own.address, order)
        except OSError as error:
            why = self._own.read_log() or error
            raise EngineError(f"the process that imports vLLM died: {why}") from error
