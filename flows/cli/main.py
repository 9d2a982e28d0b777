"""Is the command line: what `opencharacter --help` lists.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from flows.cli.error_lines import DEBUG, describe_error
from flows.cli.options import Names, Overrides
from flows.cli.store_commands import add_commands
from infra.errors import InterruptedRun, OpenCharacterError
from infra.orchestration.defaults import CONSOLE_LEVEL, apply_defaults

if TYPE_CHECKING:
    from flows.control.display import Terminal

_RARELY = (50_000, 20, 100)
"""The collector's thresholds: looking at every new module again takes a fifth of all imports."""

app = App(
    name="opencharacter",
    help="Train customisable role-playing language models from synthetic personas.",
    help_epilogue=f"{DEBUG}, after any command, shows the traceback of an error.",
    version_flags=["--version"],
)

add_commands(app)

Stage = Literal[
    "personas",
    "instructions",
    "characters",
    "dialogues",
    "curation",
    "export",
    "encoding",
    "training",
    "evaluation",
    "report",
]
Shown = Literal[
    "personas",
    "instructions",
    "characters",
    "dialogues",
    "examples",
    "questions",
    "answers",
    "judgements",
    "rejects",
    "lineage",
]


@app.command
def run(
    config: str,
    /,
    *,
    set_: Overrides = None,
    from_: Annotated[Stage, Parameter(name=["--from"])] = "personas",
    until: Stage = "report",
    refresh: Names = None,
    retry_rejects: Names = None,
) -> None:
    """Run the pipeline, or a part of it; running again goes on where it stopped.

    Prints progress to standard error and one JSON line to standard output at the end.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged, such as configs/demo.yaml.
    from_:
        First stage that may be made; what comes before it must be in the store.
    until:
        Last stage to run.
    refresh:
        A stage or node to make anew, its rows with other seeds, and all that reads it.
    retry_rejects:
        A stage or node whose rejected rows are asked again; accepted ones stay.
    """
    _quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    overrides = tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        # These take seconds, as the server does.
        from flows.control.display import Terminal, watch
        from flows.control.rerun import check_reruns
        from flows.pipeline import opencharacter
        from flows.recipe.opening import prepare

        wishes = tuple(refresh or ()), tuple(retry_rejects or ())
        check_reruns(prepare(config, overrides), from_, until, *wishes)
        await_server()
        with Terminal() as terminal, watch(terminal), _stop_on_signals(terminal):
            result = opencharacter(
                config,
                overrides,
                until,
                first=from_,
                refresh=wishes[0],
                retry_rejects=wishes[1],
            )
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
    from flows.plan.planning import plan_run
    from flows.plan.table import print_plan

    drawn = plan_run(config, set_ or ())
    print(drawn.model_dump_json() if json else print_plan(drawn))


@app.command
def show(
    config: str,
    what: Shown,
    row: str | None = None,
    /,
    *,
    n: Annotated[int, Parameter(name=["-n"])] = 5,
    set_: Overrides = None,
    reason: str | None = None,
    sample: int | None = None,
    blind: bool = False,
    out: str = "sheet.csv",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Look at rows of a finished or running stage, or write answers on a sheet to be rated.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    what:
        Which rows to show; "lineage" shows what a row came from and what came from it.
    row:
        Of lineage, the key of a row, or its first six digits or more.
    n:
        How many.
    reason:
        Of rejects, only those with this reason.
    sample:
        Of answers, write a CSV sheet of so many for a person to rate.
    blind:
        Hide on the sheet which model answered and what judges said.
    out:
        Where the sheet goes; - is standard output.
    seed:
        Seed of the sheet's sample and order.
    json:
        Of lineage, print JSON instead of a tree.
    """
    _quiet_prefect()
    from flows.look.showing import check_shown
    from flows.recipe.opening import prepare

    check_shown(what, n=n, row=row, reason=reason, sample=sample, blind=blind)
    settings = prepare(config, set_ or ())
    if what == "lineage":
        from flows.look.lineage import show_lineage

        show_lineage(settings, str(row), as_json=json)
    elif what == "answers" and (sample is not None or blind):
        from flows.look.sheets import SheetOptions, choose_rubrics, write_sheet

        count = 50 if sample is None else sample
        write_sheet(settings, SheetOptions(count, blind, out, seed, choose_rubrics(settings)))
    else:
        from flows.look.showing import show_rows

        show_rows(settings, what, n, reason)


@app.command
def compare(
    run_a: str,
    run_b: str,
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    set_: Overrides = None,
    seed: int = 0,
    resamples: int = 10_000,
    json: bool = False,
) -> None:
    """Compare the models of two runs on the questions that both asked.

    Parameters
    ----------
    run_a:
        Folder of a run, <root>/runs/<name>, local or on S3; or a name, with CONFIG or --root.
    run_b:
        The run that is compared with it.
    config:
        YAML file whose storage root names are looked up in.
    root:
        Storage root that names are looked up in.
    seed:
        Seed of the paired bootstrap.
    resamples:
        Resamples of the bootstrap.
    json:
        Print JSON instead of tables.
    """
    _quiet_prefect()
    from flows.look.comparing import compare_runs, print_comparison

    if root is None and config is not None:
        from flows.recipe.settings import load_settings

        root = load_settings(config, set_ or ()).storage.root
    found = compare_runs(run_a, run_b, root, seed=seed, resamples=resamples)
    print(found.model_dump_json() if json else print_comparison(found))


@app.command
def matrix(
    *configs: str, set_: Overrides = None, name: str = "", seed: int = 0, json: bool = False
) -> None:
    """Run several configurations in one store, one after the other, and compare them.

    Parameters
    ----------
    configs:
        YAML files; each is compared with the first.
    name:
        Name of the comparison's folder, <root>/runs/matrix-<name>.
    seed:
        Seed of the paired bootstrap.
    json:
        Print JSON instead of tables.
    """
    _quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    overrides = tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        from flows.control.display import Terminal, watch
        from flows.look.matrix import opencharacter_matrix, prepare_all, print_matrix

        prepare_all(configs, overrides, name, seed)
        await_server()
        with Terminal() as terminal, watch(terminal), _stop_on_signals(terminal):
            found = opencharacter_matrix(list(configs), overrides, name, seed)
    print(found.model_dump_json() if json else print_matrix(found))


@app.command
def chat(
    config: str,
    /,
    *,
    persona: str,
    profile: str | None = None,
    model: str | None = None,
    temperature: float = 0.7,
    top_p: float = 0.95,
    repetition_penalty: float = 1.05,
    max_new_tokens: int = 512,
    seed: int | None = None,
    system: Literal["show"] | None = None,
    set_: Overrides = None,
) -> None:
    """Talk with a model in character; lines of a pipe are turns.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    persona:
        Who answers, in a sentence.
    profile:
        A file of the eight fields, one "Field: value" a line; "make" has the teacher write it.
    model:
        A role of the configuration or a model folder; the tuned model if left out.
    temperature:
        Sampling temperature; 0 always takes the likeliest token.
    top_p:
        Nucleus sampling mass.
    repetition_penalty:
        Above 1, words that came before are less likely: small models go round in circles without.
        Engines of this machine only; 1 turns it off.
    max_new_tokens:
        Longest answer in tokens.
    seed:
        Seed of the sampling.
    system:
        "show" prints the system prompt first.
    """
    _quiet_prefect()
    from flows.recipe.opening import prepare
    from flows.talk.chatting import ChatOptions
    from flows.talk.chatting import chat as hold_chat
    from infra.cluster.reaper import reap_children

    options = ChatOptions(
        persona=persona,
        profile=profile,
        model=model,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        max_new_tokens=max_new_tokens,
        seed=seed,
        show_system=system == "show",
    )
    settings = prepare(config, set_ or ())
    with reap_children():
        hold_chat(settings, options)


@app.command
def serve(
    config: str,
    /,
    *,
    model: str | None = None,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    set_: Overrides = None,
) -> None:
    """Serve a model behind an OpenAI-compatible address until Ctrl-C.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    model:
        A role of the configuration or a model folder; the tuned model if left out.
    name:
        What clients call the model.
    host:
        Address to listen at; 0.0.0.0 lets other machines in.
    port:
        Port to listen at.
    api_key:
        Where the key that clients must show is, as env:NAME; none if left out.
    """
    _quiet_prefect()
    from flows.recipe.opening import prepare
    from flows.talk.serving import ServeOptions
    from flows.talk.serving import serve as serve_model
    from infra.cluster.reaper import reap_children

    options = ServeOptions(model=model, name=name, host=host, port=port, api_key=api_key)
    settings = prepare(config, set_ or ())
    with reap_children():
        serve_model(settings, options)


@app.command
def doctor(config: str | None = None, /, *, set_: Overrides = None) -> None:
    """Check the machine, the packages and, if given, a configuration and its storage.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    """
    _quiet_prefect()
    from flows.control.doctor import examine

    sys.exit(0 if examine(config, set_ or ()) else 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors become messages and exit codes."""
    gc.set_threshold(*_RARELY)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    if debug:
        words = [word for word in words if word != DEBUG]
        os.environ.setdefault(CONSOLE_LEVEL, "ERROR")
    try:
        app(words)
    except KeyboardInterrupt:
        print("\nInterrupted; everything committed is kept.", file=sys.stderr)
        sys.exit(InterruptedRun.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        print(f"\n{describe_error(error, debug=debug)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, OpenCharacterError) else 1)


@contextmanager
def _stop_on_signals(terminal: Terminal) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an orderly stop; a second one ends at once."""
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        context = terminal.context
        if context is None:
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


def _quiet_prefect() -> None:
    """Let our own display speak; Prefect's log stays in its UI. The user's settings win.

    What ends a run is Prefect's error too, with a traceback: on the terminal it is told once.
    """
    apply_defaults(
        PREFECT_LOGGING_LEVEL="ERROR",
        **{CONSOLE_LEVEL: "CRITICAL"},
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_NO_ADVISORY_WARNINGS="1",
    )
