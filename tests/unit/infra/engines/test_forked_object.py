"""Holds objects in real forks of servers with light imports; engines: tests/e2e."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from infra.engines.vllm import forks as vllm_forks
from infra.engines.vllm.forked_object import ForkedObject
from infra.engines.vllm.forks import ForkServer
from infra.errors import EngineError
from tests.unit.infra.engines import fork_takes_long, fork_targets
from tests.unit.infra.engines.fork_targets import Clerk


@pytest.fixture(autouse=True)
def light_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", fork_targets.__name__)


async def tell(clerk: ForkedObject) -> tuple[str, int, int]:
    told: tuple[str, int, int] = await clerk.call("tell")
    return told


@pytest.mark.parametrize("kind", ["alive", "none", "elsewhere", "gone", "killed", "dies"])
def test_a_server_that_does_not_answer_is_replaced(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(address: str | None, owner: int) -> None:
        clerk = ForkedObject("the clerk", address)
        await clerk.start("clerk", Clerk, "Ada")
        name, pid, imported_by = await tell(clerk)
        assert name == "Ada" and pid not in (imported_by, os.getpid())
        assert psutil.Process(pid).cmdline()[0] == "clerk"
        assert (imported_by == owner) == (kind == "alive")
        await clerk.close("retire")
        assert not psutil.pid_exists(pid)
        assert psutil.pid_exists(imported_by) == (kind == "alive")

    with ExitStack() as stack:
        with monkeypatch.context() as patch:
            if kind == "dies":
                patch.setenv("OPENCHARACTER_TEST_DIES", "1")
                patch.setattr(vllm_forks, "_IMPORTS", "tests.unit.infra.engines.fork_dies")
            server = stack.enter_context(closing(ForkServer()))
        if kind == "gone":
            server.close()
        if kind == "killed":
            server._process.kill()
            server._process.wait()
            assert not server.is_alive
        address = {"none": None, "elsewhere": "/nowhere/forks"}.get(kind, server.address)
        asyncio.run(run(address, server._process.pid))


def test_what_cannot_be_imported_is_said_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", "tests.unit.infra.engines.there_is_no_such_module")
    clerk = ForkedObject("the clerk")
    with pytest.raises(EngineError, match="there_is_no_such_module"):
        asyncio.run(clerk.start("clerk", Clerk, "Ada"))
    assert clerk._own is not None and not Path(clerk._own.address).parent.exists()


def test_closing_what_is_dead_says_so_and_leaves_nothing() -> None:
    async def run() -> None:
        clerk = ForkedObject("the clerk")
        await clerk.start("clerk", Clerk, "Ada")
        _, _, imported_by = await tell(clerk)
        with pytest.raises(EngineError, match="died"):
            await clerk.call("fall")
        with pytest.raises(EngineError, match="gone"):
            await clerk.close("retire")
        assert not psutil.pid_exists(imported_by)

    asyncio.run(run())


def test_whoever_is_interrupted_while_it_imports_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_forks, "_IMPORTS", fork_takes_long.__name__)
    monkeypatch.setenv("OPENCHARACTER_TEST_TAKES_LONG", "1")
    clerk = ForkedObject("the clerk")

    async def run() -> None:
        starting = asyncio.create_task(clerk.start("clerk", Clerk, "Ada"))
        while clerk._own is None:
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    began = time.monotonic()
    asyncio.run(run())  # which waits for its threads
    assert time.monotonic() - began < fork_takes_long.SECONDS / 4
    assert clerk._own is not None and not clerk._own.is_alive


def test_what_was_not_started_says_so() -> None:
    with pytest.raises(EngineError, match="the clerk was not started"):
        asyncio.run(ForkedObject("the clerk").call("tell"))
