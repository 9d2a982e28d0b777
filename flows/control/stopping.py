"""Stops a run in order when its process is told to end: cancelled in the Prefect UI, or SIGTERM.

Inside a flow Prefect turns the signal into an exception in the main thread, whatever handler was
there before. Were it to leave the flow at once, engines would be closed under rows that are nearly
done. A run of the command line, or of a program's own, takes the signal back and ends as after
Ctrl-C. One that a deployment started works in a thread of its own: the main thread hears the
signal, has the stages commit what is finished, and only then passes the signal on, which makes
Prefect call the run Cancelled (or Crashed, when nobody cancelled it). Prefect's workers wait 30 s
for that before they kill; ``runner.stop_grace_s`` is shorter.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TypeVar

from prefect.exceptions import TerminationSignal

from infra.context import Listener, RunContext
from infra.errors import InterruptedRun
from infra.progress import Progress
from infra.threads import start_beside

T = TypeVar("T")

_STDERR = 2
_SAME_S = 2.0
_TOLD = b"SIGTERM: committing what is finished, then stopping\n"


class StopController(Listener):
    """Listener with the context of the run it watches, so that it can tell the run to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: RunContext | None = None
        self._told = False

    def run_started(self, name: str, context: RunContext) -> None:
        """Keep the context; a run that was told to stop before it had one stops now."""
        with self._lock:
            self._context = context
            if self._told:
                context.stop.set()

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Ignore progress."""

    def engine_event(self, model: str, text: str) -> None:
        """Ignore engines."""

    def stop(self) -> None:
        """Have the run take no new work and commit what is finished."""
        with self._lock:
            self._told = True
            if self._context is not None:
                self._context.stop.set()


def run_until_told_to_stop(work: Callable[[StopController], T]) -> T:
    """Carry out a run that is watched by the controller it is given; return what it returns.

    Raises :class:`prefect.exceptions.TerminationSignal` when the process was told to end, after
    the run has come to its end, whichever that was.
    """
    controller = StopController()
    outcome: futures.Future[T] = futures.Future()
    try:  # the signal may come before the thread has started: then it finds its work cancelled
        start_beside(outcome, partial(work, controller), "run")
        return outcome.result()
    except TerminationSignal:
        controller.stop()
        if not outcome.cancel():
            futures.wait([outcome])
        raise


@contextmanager
def stop_on_sigterm(stop: threading.Event) -> Iterator[None]:
    """Turn SIGTERM inside the block into an order to stop; a second one ends the process at once.

    One that comes within two seconds is the first again: a group was told, and a parent passed it
    on. In another thread than the main one, which alone hears signals, nothing changes.

    Raises :class:`InterruptedRun` when the order came so late that the block had nothing left to
    stop: what comes after it is not to begin.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[float] = []

    def answer(number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if told and now - told[0] > _SAME_S:
            os._exit(InterruptedRun.exit_code)
        stop.set()
        if not told:
            told.append(now)
            # A print or a log could wait for a lock that the interrupted line holds.
            with suppress(OSError):
                os.write(_STDERR, _TOLD)

    previous = signal.signal(signal.SIGTERM, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
    if stop.is_set():
        raise InterruptedRun("told to stop when all was made; everything is kept")
