"""Shows a run on the terminal: a live table, or plain lines where nobody watches."""

from __future__ import annotations

import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.context import Listener, Quiet, RunContext
from infra.progress import Progress

_LINE_EVERY_S = (10.0, 30.0)
_GLANCE_S = 0.2
_WATCHER: ContextVar[Listener] = ContextVar("watcher")


def current_watcher() -> Listener:
    """Return who watches runs that start in this context; nobody by default."""
    return _WATCHER.get(Quiet())


@contextmanager
def watch(listener: Listener) -> Iterator[None]:
    """Let a listener watch the runs that start inside the block."""
    token = _WATCHER.set(listener)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@dataclass
class LineRhythm:
    """Rhythm of printed lines about a stage where nobody watches: rarer, the longer it runs."""

    began: float
    last: float | None = None
    moved: bool = False

    def is_due(self, now: float, *, moving: bool) -> bool:
        """Tell whether to print: at first, once something is finished, then every 10 to 30 s."""
        least, most = _LINE_EVERY_S
        wait = min(most, max(least, (now - self.began) / 10))
        due = self.last is None or now - self.last >= wait or (moving and not self.moved)
        if due:
            self.last, self.moved = now, moving
        return due


class Terminal(Listener):
    """Display on standard error, so that standard output holds nothing but the closing line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._stages: dict[str, Progress] = {}
        self._rhythms: dict[str, LineRhythm] = {}
        self._lock = threading.Lock()
        self.context: RunContext | None = None

    def __enter__(self) -> Terminal:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def run_started(self, name: str, context: RunContext) -> None:
        """Say where the run goes, and remember whom to stop."""
        self.context = context
        self.note(f"run {name} → {context.storage.root}")

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Move the stage's line of the table, or print a line now and then."""
        with self._lock:
            self._stages[progress.stage] = progress
            if self._live is not None:
                self._live.update(self._table())
                return
            now = time.monotonic()
            rhythm = self._rhythms.setdefault(progress.stage, LineRhythm(now))
            if rhythm.is_due(now, moving=progress.moving) or finished:
                mark = "✓ " if finished else "  "
                print(f"{mark}{progress.describe()}", file=sys.stderr, flush=True)

    def engine_event(self, model: str, text: str) -> None:
        """Print what happened to an engine."""
        self.note(f"engine {model} {text}")

    def node_note(self, node: str, text: str) -> None:
        """Print what is worth knowing about a node."""
        self.note(f"{node}: {text}")

    def can_approve(self) -> bool:
        """Tell whether somebody sits at the terminal."""
        return sys.stdin.isatty()

    def approve(self, text: str) -> bool:
        """Show the text under the table and wait for a yes; Ctrl-C is a no."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        self.note(text)
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before was no answer
        self._console.print("Go on? [y/N] ", end="", markup=False)
        answer = _read_line(lambda: self.context is not None and self.context.stop.is_set())
        if live is not None:
            live.start()
            self._live = live
        return answer.strip().lower() in ("y", "yes")

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "rows", "rows/s", "tokens/s", "cached", "rejected", "ETA"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for progress in self._stages.values():
            table.add_row(progress.stage, *progress.cells())
        return table


def _read_line(given_up: Callable[[], bool]) -> str:
    """Return a line from standard input; an empty one when it ends or the run is stopped."""
    while not given_up():
        if select.select([sys.stdin], [], [], _GLANCE_S)[0]:
            return sys.stdin.readline()
    return ""
