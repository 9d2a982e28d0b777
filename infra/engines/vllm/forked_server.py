"""Holds a vLLM engine whose processes are all forks, for an actor that need not import vLLM."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from infra.engines.config import ModelConfig
from infra.engines.core_binding import keep_to_cores
from infra.engines.vllm.forked_object import ForkedObject
from infra.engines.vllm.server import EngineFacts, VllmServer
from infra.errors import EngineError
from infra.protocol import Completion, Request

_TITLE = "VLLM::Frontend"


class ForkedServer:
    """Stand-in for a :class:`VllmServer` in a fork; ``forks`` as :class:`ForkedObject` has it."""

    def __init__(self, config: ModelConfig, forks: str | None) -> None:
        self._config = config
        self._server = ForkedObject(f"the engine of {config.model}", forks)

    async def start(self) -> EngineFacts:
        """Load the model and return the engine's facts; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        await self._server.start(_TITLE, VllmServer, self._config)
        facts: EngineFacts = await self._server.call("start")
        if facts.spare_cores:
            keep_to_cores(facts.spare_cores)
        return replace(facts, start_s=time.monotonic() - began)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Begin answering requests; :meth:`collect` brings the answers."""
        await self._server.call("submit", requests)

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Return what was finished since the last call, by request id."""
        found: list[tuple[str, Completion | EngineError]] = await self._server.call("collect")
        return found

    async def stop(self) -> None:
        """Shut the engine down in order; :class:`EngineError` if it was dead already."""
        await self._server.close("stop")
