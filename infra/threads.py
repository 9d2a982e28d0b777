"""Carries work out in a thread of its own, in the caller's context, while the caller listens."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start_beside(
    outcome: Future[T], work: Callable[[], T], name: str, *, daemon: bool = False
) -> None:
    """Start ``work``; what it returns or raises comes to ``outcome``, made before by the caller.

    So a caller who is interrupted in here still has the outcome: to cancel it, which work that
    has not begun then finds, or to wait for it.
    """
    context = contextvars.copy_context()

    def carry_out() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(context.run(work))
            except BaseException as error:
                outcome.set_exception(error)

    threading.Thread(target=carry_out, name=name, daemon=daemon).start()
