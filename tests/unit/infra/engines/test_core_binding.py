"""Binds processes to real cores, and finds those that nobody is bound to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from infra.engines.core_binding import count_engine_threads, keep_to_cores, leave_engine_cores

CORES = sorted(os.sched_getaffinity(0))

needs_two = pytest.mark.skipif(len(CORES) < 2, reason="a machine of one core leaves none out")


@pytest.fixture
def processes() -> Iterator[list[psutil.Process]]:
    """Two processes that are bound to nothing."""
    started = [
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)
    ]
    try:
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


@needs_two
def test_who_is_bound_to_nothing_goes_where_nobody_computes(
    processes: list[psutil.Process],
) -> None:
    worker, frontend = processes
    os.sched_setaffinity(worker.pid, {CORES[0]})
    assert leave_engine_cores(processes) == tuple(CORES[1:])
    assert os.sched_getaffinity(worker.pid) == {CORES[0]}
    assert os.sched_getaffinity(frontend.pid) == set(CORES[1:])


@needs_two
def test_threads_that_only_share_the_first_one_s_core_leave_it() -> None:
    code = (
        "import os, threading\n"
        f"os.sched_setaffinity(0, {{{CORES[0]}}})\n"
        "thread = threading.Thread(target=threading.Event().wait, daemon=True)\n"
        "thread.start()\n"
        "print(thread.native_id, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as core:
        assert core.stdout is not None
        thread = int(core.stdout.readline())
        assert os.sched_getaffinity(thread) == {CORES[0]}
        assert leave_engine_cores([psutil.Process(core.pid)]) == tuple(CORES[1:])
        found = os.sched_getaffinity(core.pid), os.sched_getaffinity(thread)
        core.kill()
    assert found == ({CORES[0]}, set(CORES[1:]))


def test_where_none_is_bound_all_stay(processes: list[psutil.Process]) -> None:
    assert leave_engine_cores(processes) == ()
    assert all(os.sched_getaffinity(process.pid) == set(CORES) for process in processes)


@needs_two
def test_where_every_core_computes_all_stay(processes: list[psutil.Process]) -> None:
    """Each core has a thread of its own: there is no core to leave for."""
    code = (
        "import os, threading\n"
        f"for core in {CORES}:\n"
        "    def stay(core=core):\n"
        "        os.sched_setaffinity(0, {core})\n"
        "        print(flush=True)\n"
        "        threading.Event().wait()\n"
        "    threading.Thread(target=stay, daemon=True).start()\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        for _ in CORES:
            worker.stdout.readline()
        assert leave_engine_cores([psutil.Process(worker.pid), *processes]) == ()
        worker.kill()
    assert all(os.sched_getaffinity(process.pid) == set(CORES) for process in processes)


def test_who_has_ended_is_passed_over(processes: list[psutil.Process]) -> None:
    gone = processes.pop()
    gone.kill()
    gone.wait(10)
    assert leave_engine_cores([gone, *processes]) == ()
    keep_to_cores(CORES[:1], gone.pid)


def test_threads_are_the_cores_that_were_not_left_out() -> None:
    assert count_engine_threads([0]) == (os.cpu_count() or 1) - 1
    assert count_engine_threads([0, 0]) == (os.cpu_count() or 1) - 1
    assert count_engine_threads([]) == os.cpu_count()


@needs_two
def test_threads_to_come_are_bound_as_well(processes: list[psutil.Process]) -> None:
    keep_to_cores(CORES[-1:], processes[0].pid)
    assert os.sched_getaffinity(processes[0].pid) == {CORES[-1]}
    assert os.sched_getaffinity(processes[1].pid) == set(CORES)
