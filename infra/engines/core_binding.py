"""Keeps the processes around a CPU engine off the cores that the engine computes on.

vLLM binds its compute threads to cores of their own and leaves at least one core out. Whoever
else lands on a bound core (the engine's own scheduler, the actor, the stage worker) stops the
whole step until it is gone. Measured on two cores: keeping them off took the stage runner from
0.80 to 0.90 of ``LLM.generate``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import psutil  # type: ignore[import-untyped]


def leave_engine_cores(processes: Sequence[psutil.Process]) -> tuple[int, ...]:
    """Move all of an engine that does not compute to the cores left out.

    That is processes that are bound to nothing, and threads that do no more than share the core of
    the process's first. Call it once the engine is up. Returns those cores; empty if the engine
    bound none or all.
    """
    allowed = os.sched_getaffinity(0)
    bound = {core for process in processes for core in _own_cores(process.pid, allowed)}
    spare = allowed - bound
    if not bound or not spare:
        return ()
    for process in processes:
        _bind(list(_list_others(process.pid, allowed)), spare)
    return tuple(sorted(spare))


def count_engine_threads(spare: Iterable[int]) -> int:
    """Return how many cores an engine computes on, given those it left out."""
    return (os.cpu_count() or 1) - len(set(spare))


def keep_to_cores(cores: Iterable[int], pid: int = 0) -> None:
    """Bind every thread of a process to the given cores; threads to come inherit it."""
    _bind(_list_threads(pid or os.getpid()), cores)


def _bind(threads: Iterable[int], cores: Iterable[int]) -> None:
    for thread in threads:
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(thread, set(cores))


def _list_others(pid: int, allowed: set[int]) -> Iterator[int]:
    """Yield the threads of a process that do not compute: all, if none is bound."""
    threads = _list_threads(pid)
    if not _own_cores(pid, allowed):
        yield from threads
        return
    for thread in threads:
        with suppress(OSError):
            # OpenMP binds each of its own threads elsewhere; the rest were born with the first's.
            if thread != pid and os.sched_getaffinity(thread) == os.sched_getaffinity(pid):
                yield thread


def _own_cores(pid: int, allowed: set[int]) -> set[int]:
    """Return the cores that threads of a process are bound to, if they are bound at all."""
    own: set[int] = set()
    for thread in _list_threads(pid):
        with suppress(OSError):
            found = os.sched_getaffinity(thread)
            if found < allowed:
                own |= found
    return own


def _list_threads(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    return []
