"""Holds servers without an engine in real hosts; engines: tests/e2e."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm import hosted_server
from infra.engines.vllm.hosted_server import HostedServer
from infra.engines.vllm.zygote import Zygote
from infra.errors import EngineError
from infra.protocol import Request, SamplingParams
from tests.unit.infra.engines import zygote_dies, zygote_takes_long, zygote_targets
from tests.unit.infra.engines.zygote_targets import FakeServer

pytestmark = pytest.mark.torch

LIGHT = partial(Zygote, zygote_targets.__name__)


def hold(address: str | None = None, start: Callable[[], Zygote] = LIGHT) -> HostedServer:
    config = ModelConfig(model="/m")
    return HostedServer(config, address, make=FakeServer, start_zygote=start)


def ask(name: str) -> Request:
    return Request(name, (), (1, 2), SamplingParams(0.0, 1.0, 8))


async def find_pids(server: HostedServer) -> tuple[int, int]:
    """Start a server; return its host and who that was forked from."""
    facts = await server.start()
    host, zygote = facts.device.split(" of ")
    return int(host), int(zygote)


def test_requests_go_in_and_answers_come_out() -> None:
    async def run() -> None:
        server = hold()
        await server.start()
        await server.submit([ask("a"), ask("b")])
        found = await server.collect()
        assert [(name, done.text) for name, done in found] == [("a", "A"), ("b", "B")]  # type: ignore[union-attr]
        await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["alive", "none", "elsewhere", "gone", "killed", "dies"])
def test_a_zygote_that_does_not_answer_is_replaced(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(address: str | None, given: int) -> None:
        server = hold(address)
        host, zygote = await find_pids(server)
        assert host not in (zygote, os.getpid())
        assert (zygote == given) == (kind == "alive")
        await server.stop()
        assert not psutil.pid_exists(host)
        assert psutil.pid_exists(zygote) == (kind == "alive")

    with ExitStack() as stack:
        with monkeypatch.context() as patch:
            if kind == "dies":
                patch.setenv("OPENCHARACTER_TEST_DIES", "1")
            imports = (zygote_dies if kind == "dies" else zygote_targets).__name__
            given = stack.enter_context(closing(Zygote(imports)))
        if kind == "gone":
            given.close()
        if kind == "killed":
            psutil.Process(given.pid).kill()
            given._process.wait()
            assert not given.is_alive
        address = {"none": None, "elsewhere": "/nowhere/zygote"}.get(kind, given.address)
        asyncio.run(run(address, given.pid))


def remember(made: list[Zygote], imports: str) -> Zygote:
    made.append(Zygote(imports))
    return made[-1]


def test_what_cannot_be_imported_is_said_and_nothing_is_left() -> None:
    made: list[Zygote] = []
    server = hold(None, partial(remember, made, "tests.unit.there_is_no_such_module"))
    with pytest.raises(EngineError, match="there_is_no_such_module"):
        asyncio.run(server.start())
    assert not made[0].is_alive and not Path(made[0].address).parent.exists()


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCHARACTER_TEST_REFUSES", "1")
    made: list[Zygote] = []
    with pytest.raises(EngineError, match="no such model"):
        asyncio.run(hold(None, partial(remember, made, zygote_targets.__name__)).start())
    assert not made[0].is_alive


def test_stopping_what_is_dead_says_so_and_leaves_nothing() -> None:
    async def run() -> None:
        server = hold()
        _, zygote = await find_pids(server)
        with pytest.raises(EngineError, match="died"):
            await server.submit([ask("die")])
        with pytest.raises(EngineError, match="gone"):
            await server.stop()
        assert not psutil.pid_exists(zygote)

    asyncio.run(run())


def test_whoever_is_interrupted_while_it_imports_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENCHARACTER_TEST_TAKES_LONG", "1")
    made: list[Zygote] = []
    server = hold(None, partial(remember, made, zygote_takes_long.__name__))

    async def run() -> None:
        starting: asyncio.Task[Any] = asyncio.create_task(server.start())
        while not made:
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    began = time.monotonic()
    asyncio.run(run())  # which waits for its threads
    assert time.monotonic() - began < zygote_takes_long.SECONDS / 4
    assert not made[0].is_alive


def test_a_host_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_server, "_COLLECT_S", 0.1)

    async def run() -> None:
        config = ModelConfig(model="/m", stall_timeout_s=0.1)
        server = HostedServer(config, make=FakeServer, start_zygote=LIGHT)
        host, zygote = await find_pids(server)
        psutil.Process(host).suspend()
        with pytest.raises(EngineError, match="did not answer"):
            await server.collect()
        assert not psutil.pid_exists(host) and not psutil.pid_exists(zygote)

    asyncio.run(run())


def test_what_was_not_started_says_so() -> None:
    with pytest.raises(EngineError, match="the engine of /m was not started"):
        asyncio.run(hold().collect())
