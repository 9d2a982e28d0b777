"""Stops a forked engine that is dead already; engines that live: tests/e2e."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from infra.engines import vllm_forks
from infra.engines.config import ModelConfig
from infra.engines.forked_server import ForkedServer
from infra.engines.socket_calls import SocketCalls
from infra.engines.vllm_forks import start_fork
from infra.errors import EngineError
from tests.unit.engines import fork_targets


def test_stopping_what_is_dead_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", fork_targets.__name__)

    async def run() -> None:
        server = ForkedServer(ModelConfig(model="none"), None)
        told = str(tmp_path / "told")
        server._process, server._own = start_fork(None, fork_targets.describe, told)
        own = server._own
        assert own is not None
        alive_before = own.is_alive
        near, far = socket.socketpair()
        server._calls = await SocketCalls.over(near)
        far.close()
        with pytest.raises(EngineError):
            await server.stop()
        assert (alive_before, own.is_alive) == (True, False)
        server._calls.close()
        await asyncio.sleep(0.01)

    asyncio.run(run())


def test_an_engine_that_was_not_started_says_so() -> None:
    with pytest.raises(EngineError, match="not started"):
        asyncio.run(ForkedServer(ModelConfig(model="none"), None).collect())
