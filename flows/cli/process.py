"""Settles how the process of a command behaves: its signals, and what Prefect says on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from infra.errors import InterruptedRun
from infra.orchestration.defaults import CONSOLE_LEVEL, apply_defaults

if TYPE_CHECKING:
    from flows.control.display import Terminal


@contextmanager
def stop_on_signals(terminal: Terminal) -> Iterator[None]:
    """Turn the first Ctrl-C into an orderly stop; a second one ends at once.

    SIGTERM too, until a flow takes it over (:func:`flows.control.stopping.stop_on_sigterm`).
    """
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        context = terminal.context
        if context is None or context.ended:  # before a run, or between two
            raise KeyboardInterrupt
        told.append(number)
        if len(told) > 1:
            # Threads still wait for engines; the reaper ends those, and nothing committed is lost.
            terminal.note("ending at once")
            os._exit(InterruptedRun.exit_code)
        terminal.note(f"{signal.Signals(number).name}: committing what is finished, then stopping")
        context.stop.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def quiet_prefect() -> None:
    """Let our own display speak; Prefect's log stays in its UI. The user's settings win.

    What ends a run is Prefect's error too, with a traceback: on the terminal it is told once.
    """
    apply_defaults(
        PREFECT_LOGGING_LEVEL="ERROR",
        **{CONSOLE_LEVEL: "CRITICAL"},
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_NO_ADVISORY_WARNINGS="1",
    )
