"""Is the command line: `opencharacter run | plan | show | doctor`.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from infra.errors import InterruptedRun, OpenCharacterError
from infra.prefect_defaults import apply_defaults

if TYPE_CHECKING:
    from flows.display import Terminal

app = App(
    name="opencharacter",
    help="Train customisable role-playing language models from synthetic personas.",
    version_flags=["--version"],
)

Stage = Literal[
    "personas", "instructions", "characters", "dialogues", "curation", "export", "report"
]
Shown = Literal["personas", "instructions", "characters", "dialogues", "examples", "rejects"]
Overrides = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="Override a key of the configuration, as a.b=c; the value is YAML. Repeatable.",
        negative=(),
        consume_multiple=False,
    ),
]


@app.command
def run(config: str, /, *, set_: Overrides = None, until: Stage = "report") -> None:
    """Run the pipeline, or the part of it up to a stage; running again goes on where it stopped.

    Prints progress to standard error and one JSON line to standard output at the end.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged, such as configs/demo.yaml.
    until:
        Last stage to run.
    """
    _quiet_prefect()
    from flows.display import Terminal, watch
    from flows.pipeline import opencharacter, prepare
    from infra.reaper import reap_children

    overrides = tuple(set_ or ())
    prepare(config, overrides)
    with reap_children(), Terminal() as terminal, watch(terminal), _stop_on_signals(terminal):
        result = opencharacter(config, overrides, until)
    print(result.model_dump_json(), flush=True)


@app.command
def plan(config: str, /, *, set_: Overrides = None, json: bool = False) -> None:
    """Say what a run would make and what it would reuse, and why; starts nothing.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    json:
        Print JSON instead of a table.
    """
    _quiet_prefect()
    from flows.pipeline import prepare
    from flows.planning import draw_plan, print_plan

    drawn = draw_plan(prepare(config, set_ or ()))
    print(drawn.model_dump_json() if json else print_plan(drawn))


@app.command
def show(
    config: str,
    what: Shown,
    /,
    *,
    n: Annotated[int, Parameter(name=["-n"])] = 5,
    set_: Overrides = None,
    reason: str | None = None,
) -> None:
    """Look at rows of a finished or running stage.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    what:
        Which rows to show.
    n:
        How many.
    reason:
        Of rejects, only those with this reason.
    """
    _quiet_prefect()
    from flows.pipeline import prepare
    from flows.showing import show_rows

    show_rows(prepare(config, set_ or ()), what, n, reason)


@app.command
def doctor(config: str | None = None, /, *, set_: Overrides = None) -> None:
    """Check the machine, the packages and, if given, a configuration and its storage.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    """
    _quiet_prefect()
    from flows.doctor import examine

    sys.exit(0 if examine(config, set_ or ()) else 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors become messages and exit codes."""
    try:
        app(arguments)
    except OpenCharacterError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        if isinstance(error, InterruptedRun):
            print("Run the same command again to go on where it stopped.", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\nInterrupted; everything committed is kept.", file=sys.stderr)
        sys.exit(InterruptedRun.exit_code)


@contextmanager
def _stop_on_signals(terminal: Terminal) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an orderly stop; a second one ends at once."""

    def stop(number: int, _: FrameType | None) -> None:
        bench = terminal.bench
        if bench is None:
            raise KeyboardInterrupt
        if bench.stop.is_set():
            # Threads still wait for engines; the reaper ends those, and nothing committed is lost.
            terminal.note("ending at once")
            os._exit(InterruptedRun.exit_code)
        terminal.note(f"{signal.Signals(number).name}: committing what is finished, then stopping")
        bench.stop.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _quiet_prefect() -> None:
    """Let our own display speak; Prefect's log stays in its UI. The user's settings win."""
    apply_defaults(
        PREFECT_LOGGING_LEVEL="ERROR",
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_NO_ADVISORY_WARNINGS="1",
    )


if __name__ == "__main__":
    main()
