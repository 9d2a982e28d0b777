"""Speaks with a model of this machine by serving it to this process alone."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from infra.cluster.ports import find_port
from infra.engines.config import ModelConfig
from infra.engines.endpoint.streaming_endpoint import StreamingEndpoint
from infra.engines.endpoint.wire import EndpointSettings
from infra.engines.vllm.openai_server import OpenAiServer, ServerPlan
from infra.errors import EngineError, PromptTooLong, RequestFailed
from infra.protocol import Delta, Request
from infra.secrets.secrets import Secret
from infra.temporary_folders import take_folder

_SEQUENCES = 4
_LOG_LEVEL = "VLLM_LOGGING_LEVEL"
"""Whoever sets it wants to read the server's log, between the answers."""


class ServedModel(StreamingEndpoint):
    """Streaming engine on a loopback port, with a key that only this process knows."""

    def __init__(
        self, config: ModelConfig, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        few = min(config.max_num_seqs or _SEQUENCES, _SEQUENCES)
        model = config.model_copy(update={"max_num_seqs": few})
        plan = ServerPlan(model, Path(config.model).name, "127.0.0.1", find_port())
        key = Secret(secrets.token_urlsafe())
        settings = EndpointSettings(
            plan.address, plan.name, timeout_s=config.timeout_s, takes_tokens=True
        )
        super().__init__(settings, key, transport=transport)
        self._folder = take_folder("served")
        log = None if _LOG_LEVEL in os.environ else self._folder / "log"
        self._server = OpenAiServer(plan, key, log)
        self._limit = 0

    async def start(self) -> str:
        """Load the model; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        await asyncio.to_thread(self._server.start)
        if not await asyncio.to_thread(self._server.await_ready):
            raise EngineError(f"the server of {self._settings.model} was told to stop")
        version = await self._look("version", above=True)
        served = await self._look("models")
        self._limit = int(served["data"][0]["max_model_len"])
        took = f"up in {time.monotonic() - began:.0f} s"
        return f"vLLM {version['version']}, context {self._limit}, {took}"

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Answer one request in deltas, within what the context leaves."""
        room = self._limit - len(request.token_ids or ())
        wanted = request.sampling.max_new_tokens
        if room < min(wanted, self._limit // 4):
            said = f"{self._limit - room} tokens leave {room} of {self._limit} for the answer"
            raise PromptTooLong(said)
        sampling = replace(request.sampling, max_new_tokens=min(wanted, room))
        deltas = super().stream(replace(request, sampling=sampling))
        try:
            async with aclosing(deltas):  # type: ignore[type-var]
                async for delta in deltas:
                    yield delta
        except (EngineError, RequestFailed):
            self._server.check_alive()
            raise

    async def close(self) -> None:
        """Stop the server in order."""
        await super().close()
        await asyncio.to_thread(self._server.close)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _look(self, path: str, *, above: bool = False) -> Any:
        address = self._settings.address.removesuffix("/v1") if above else self._settings.address
        reply = await self._client.get(f"{address}/{path}")
        return reply.raise_for_status().json()
