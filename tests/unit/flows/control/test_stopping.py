"""Proves that a run told to end commits what is finished first, whenever it is told."""

from __future__ import annotations

import contextvars
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from prefect.exceptions import TerminationSignal

from flows.control.stopping import Stopper, run_until_told_to_stop
from infra.cluster.session import RayConfig
from infra.context import Bench
from infra.errors import InterruptedRun
from infra.generation.row_stage import RunnerConfig
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


def open_bench(root: str, stopper: Stopper) -> Bench:
    bench = Bench(Storage(root), {}, RayConfig(), RunnerConfig(), stopper)
    stopper.run_started("small", bench)
    return bench


def test_what_a_run_returns_and_raises_comes_back_from_its_thread() -> None:
    colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour")
    colour.set("blue")
    assert run_until_told_to_stop(lambda stopper: colour.get()) == "blue"

    def fail(stopper: Stopper) -> None:
        raise InterruptedRun("enough")

    with pytest.raises(InterruptedRun, match="enough"):
        run_until_told_to_stop(fail)


def test_a_signal_lets_the_run_commit_before_it_is_passed_on(tmp_path: Path) -> None:
    happened: list[str] = []

    def work(stopper: Stopper) -> None:
        bench = open_bench(str(tmp_path), stopper)
        happened.append("told" if bench.stop.is_set() else "working")
        os.kill(os.getpid(), signal.SIGTERM)
        assert bench.stop.wait(_PATIENCE_S)
        happened.append("committed")
        raise InterruptedRun("stopped in order")

    with pytest.raises(TerminationSignal):
        run_until_told_to_stop(work)
    assert happened == ["working", "committed"]


def test_a_run_that_is_told_before_it_has_a_bench_stops_at_once(tmp_path: Path) -> None:
    stopper = Stopper()
    stopper.stop()
    assert open_bench(str(tmp_path), stopper).stop.is_set()
