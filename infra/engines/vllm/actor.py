"""Is a vLLM engine as a Ray actor: in a host of its own on CPUs, in the actor itself on GPUs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra.cluster.gpu_memory import await_gpu_memory
from infra.engines.config import ModelConfig
from infra.engines.vllm.forking import can_fork, is_cpu_build
from infra.engines.vllm.hosted_server import HostedServer
from infra.engines.vllm.last_words import explain_start
from infra.engines.vllm.server import DIE_WITH_PARENT, EngineFacts, VllmServer
from infra.errors import EngineError
from infra.models.folders import bring_model, measure_brought
from infra.protocol import Completion, Request

_LOG_BYTES = 1 << 15


class VllmActor:
    """Engine holder; the pool makes it an actor: ``start`` once, then ``submit``, ``collect``.

    ``zygote`` is the address of one that the engine's host may come from.
    """

    def __init__(self, config: ModelConfig, zygote: str | None = None) -> None:
        self._model, self._revision = config.model, config.revision
        share = config.engine_args.get("gpu_memory_utilization", config.gpu_memory_utilization)
        self._gpu_memory_share = float(share)
        self._server = HostedServer(config, zygote) if can_fork() else VllmServer(config)

    async def start(self) -> EngineFacts:
        """Load the model and return the engine's facts; :class:`EngineError` if it cannot."""
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the driver; it stops its engines in order
        os.environ |= {"VLLM_NO_USAGE_STATS": "1", DIE_WITH_PARENT: str(os.getpid())}
        await asyncio.to_thread(bring_model, self._model, self._revision)
        if is_cpu_build():
            # Ray set it to the actor's CPUs, and a fraction gives one thread.
            os.environ["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
        else:
            share = self._gpu_memory_share
            todo = "lower gpu_memory_utilization of its model"
            await asyncio.to_thread(await_gpu_memory, share, todo)
        try:
            facts = await self._server.start()
        except EngineError as error:
            raise explain_start(self._model, error, await self.read_log()) from error
        return replace(facts, node=_find_node())

    async def measure_brought(self) -> tuple[int, int]:
        """Return how many bytes of its model are on this machine, and how many it has."""
        return await asyncio.to_thread(measure_brought, self._model, self._revision)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Begin answering requests; :meth:`collect` brings the answers."""
        await self._server.submit(requests)

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Return what was finished since the last call, by request id."""
        return await self._server.collect()

    async def read_log(self) -> str:
        """Return the end of what the engine's processes have printed into Ray's log files."""
        ends = []
        for descriptor in (1, 2):
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - _LOG_BYTES))
                    ends.append(f"{path.name}\n{file.read().decode('utf-8', 'replace')}")
        return "\n".join(ends)

    async def stop(self) -> None:
        """Shut the engine down in order, so that its processes and memory are gone."""
        await self._server.stop()


def _find_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
