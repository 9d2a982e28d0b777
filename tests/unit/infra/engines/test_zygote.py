"""Forks real hosts from zygotes with light imports; engines: tests/e2e."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from infra.engines.vllm.socket_calls import SocketCalls
from infra.engines.vllm.zygote import Host, Order, Zygote, start_host
from infra.errors import EngineError
from tests.unit.infra.engines import zygote_targets
from tests.unit.infra.engines.zygote_targets import Clerk

pytestmark = pytest.mark.torch

IMPORTS = zygote_targets.__name__
OWNER = """
import asyncio
from infra.engines.vllm.socket_calls import SocketCalls
from infra.engines.vllm.zygote import Order, Zygote, start_host
from tests.unit.infra.engines.zygote_targets import Clerk
async def main():
    zygote = Zygote("tests.unit.infra.engines.zygote_targets")
    host = start_host(zygote.address, Order("clerk", Clerk, ("Ada",)))
    calls = await SocketCalls.over(host.connection)
    worker = await calls.call("fork")
    print(zygote.pid, host.pid, worker, zygote.address, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    with closing(Zygote(IMPORTS)) as found:
        yield found


def call(host: Host, *methods: str) -> list[Any]:
    """Call methods one after the other, and close the connection."""

    async def run() -> list[Any]:
        calls = await SocketCalls.over(host.connection)
        try:
            return [await calls.call(method) for method in methods]
        finally:
            await calls.close()

    return asyncio.run(run())


def order(*arguments: Any) -> Order:
    return Order("clerk", Clerk, arguments or ("Ada",))


def await_end(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while any(is_there(pid) for pid in pids):
        assert time.monotonic() < deadline, f"one of {pids} is still there"
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_host_is_as_if_it_had_been_spawned_but_for_the_imports(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("SET_SINCE", "the zygote started")
    monkeypatch.chdir(tmp_path)
    host = start_host(zygote.address, order())
    assert psutil.Process(host.pid).cmdline()[0] == "clerk"
    (told,) = call(host, "tell")
    assert host.await_end(10)
    assert told["name"] == "Ada" and told["pid"] == host.pid
    assert told["imported_by"] == zygote.pid
    assert told["environment"] == dict(os.environ)
    assert told["cwd"] == str(tmp_path)
    assert told["group"] == told["pid"]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("to output\n", "to error\n")


def test_a_host_ends_when_its_asker_leaves_even_while_it_loads(
    zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = start_host(zygote.address, order())
    calls = SocketCalls.over

    async def begin() -> None:
        open_calls = await calls(loading.connection)
        pending = asyncio.create_task(open_calls.call("load"))
        await asyncio.sleep(0.2)
        pending.cancel()
        await open_calls.close()

    asyncio.run(begin())
    assert loading.await_end(30)  # its loop stands still; it does not wait for it
    assert zygote.is_alive


def test_forks_of_a_host_end_with_it(zygote: Zygote) -> None:
    host = start_host(zygote.address, order())

    async def run() -> int:
        calls = await SocketCalls.over(host.connection)
        worker: int = await calls.call("fork")
        assert os.getpgid(worker) == host.pid
        with pytest.raises(EngineError, match="died"):
            await calls.call("fall")
        await calls.close()
        return worker

    await_end(asyncio.run(run()), host.pid)
    assert zygote.is_alive


def test_nothing_is_left_of_a_killed_owner() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    ) as owner:
        assert owner.stdout is not None
        *pids, address = owner.stdout.readline().split()
        assert len(pids) == 3
        owner.send_signal(signal.SIGKILL)
    await_end(*map(int, pids))
    assert not Path(address).parent.exists()


def test_hosts_hear_no_ctrl_c_and_end_with_their_zygote(zygote: Zygote) -> None:
    host = start_host(zygote.address, order())
    for pid in (host.pid, zygote.pid):
        os.kill(pid, signal.SIGINT)  # as Ctrl-C would, were they in the terminal's group
        assert os.getsid(pid) != os.getsid(0)
    time.sleep(0.2)
    assert is_there(host.pid)
    os.kill(zygote.pid, signal.SIGKILL)
    await_end(host.pid)
    host.connection.close()


def test_nothing_is_left_of_a_closed_zygote(zygote: Zygote) -> None:
    call(start_host(zygote.address, order()), "tell")
    assert Path(zygote.address).exists() and zygote.is_alive
    zygote.close()
    zygote.close()
    assert not Path(zygote.address).parent.exists()
    with pytest.raises(OSError):
        start_host(zygote.address, order())


def test_a_killed_host_is_waited_for(zygote: Zygote) -> None:
    host = start_host(zygote.address, order())
    host.kill()
    assert not is_there(host.pid)
    host.connection.close()


@pytest.mark.parametrize("given", [None, "/usr/lib/libtcmalloc.so"])
def test_openmp_is_loaded_first_in_the_zygote_and_nowhere_else(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if given:
        monkeypatch.setenv("LD_PRELOAD", given)
    with closing(Zygote(IMPORTS)) as zygote:
        (told,) = call(start_host(zygote.address, order()), "tell")
    libraries, threads = told["imported_with"]
    assert "libgomp" in libraries and libraries.startswith(given or "")
    assert threads == "1"
    assert os.environ.get("LD_PRELOAD") == told["environment"].get("LD_PRELOAD") == given
