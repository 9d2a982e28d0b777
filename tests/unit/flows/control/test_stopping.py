"""Proves that a run told to end commits what is finished first, whenever it is told."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from prefect.exceptions import TerminationSignal

from flows.control import stopping
from flows.control.stopping import (
    StopController,
    run_until_told_to_stop,
    stop_on_sigterm,
)
from infra.cluster.session import RayConfig
from infra.context import RunContext
from infra.errors import InterruptedRun
from infra.generation.runner_config import RunnerConfig
from infra.store.storage import Storage

_PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def prefect_signals() -> Iterator[None]:
    """Turn SIGTERM into an exception, as Prefect does inside a flow."""

    def end(number: int, _: FrameType | None) -> None:
        raise TerminationSignal(signal=number)

    previous = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, previous)


def open_context(root: str, controller: StopController) -> RunContext:
    context = RunContext(Storage(root), {}, RayConfig(), RunnerConfig(), controller)
    controller.run_started("small", context)
    return context


def test_what_a_run_returns_and_raises_comes_back_from_its_thread() -> None:
    colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour")
    colour.set("blue")
    assert run_until_told_to_stop(lambda controller: colour.get()) == "blue"

    def fail(controller: StopController) -> None:
        raise InterruptedRun("enough")

    with pytest.raises(InterruptedRun, match="enough"):
        run_until_told_to_stop(fail)


def test_a_signal_lets_the_run_commit_before_it_is_passed_on(tmp_path: Path) -> None:
    happened: list[str] = []

    def work(controller: StopController) -> None:
        context = open_context(str(tmp_path), controller)
        happened.append("told" if context.stop.is_set() else "working")
        os.kill(os.getpid(), signal.SIGTERM)
        assert context.stop.wait(_PATIENCE_S)
        happened.append("committed")
        raise InterruptedRun("stopped in order")

    with pytest.raises(TerminationSignal):
        run_until_told_to_stop(work)
    assert happened == ["working", "committed"]


def test_a_run_that_is_told_before_it_has_a_bench_stops_at_once(tmp_path: Path) -> None:
    controller = StopController()
    controller.stop()
    assert open_context(str(tmp_path), controller).stop.is_set()


def test_inside_a_flow_of_the_main_thread_the_signal_is_an_order_and_no_exception(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stop = threading.Event()
    with pytest.raises(InterruptedRun, match="stopped in order"), stop_on_sigterm(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(_PATIENCE_S)
        raise InterruptedRun("stopped in order")
    assert capfd.readouterr().err == "SIGTERM: committing what is finished, then stopping\n"
    with pytest.raises(TerminationSignal):  # whose handler it was before has it again
        os.kill(os.getpid(), signal.SIGTERM)


def test_one_order_may_come_twice_and_a_second_one_ends_the_process_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 10.5, 12.5])
    ended: list[int] = []
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(InterruptedRun), stop_on_sigterm(threading.Event()):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == []
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [InterruptedRun.exit_code]


def test_an_order_is_obeyed_where_nobody_reads_what_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(stopping, "_STDERR", writer)
    stop = threading.Event()
    with pytest.raises(InterruptedRun), stop_on_sigterm(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
    os.close(writer)


def test_who_was_told_too_late_to_stop_begins_nothing_else() -> None:
    stop = threading.Event()
    with pytest.raises(InterruptedRun, match="when all was made"), stop_on_sigterm(stop):
        stop.set()  # by Ctrl-C
    with stop_on_sigterm(threading.Event()):
        pass


def test_a_thread_leaves_the_signal_to_the_main_one() -> None:
    seen = []

    def work() -> None:
        with stop_on_sigterm(threading.Event()):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
