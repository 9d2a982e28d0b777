"""Offers the commands that run a configuration: `run | evaluate | judge-card | plan | doctor`.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.options import Names, Overrides
from flows.cli.process import quiet_prefect, stop_on_signals
from flows.recipe.stages import Stage


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    for command in (run, evaluate, judge_card, plan, doctor):
        app.command(command)


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
    quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    overrides = tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        # These take seconds, as the server does.
        from flows.control.display import Terminal, watch
        from flows.control.rerun import check_reruns
        from flows.pipeline import opencharacter
        from flows.recipe.opening import prepare

        requests = tuple(refresh or ()), tuple(retry_rejects or ())
        check_reruns(prepare(config, overrides), from_, until, *requests)
        await_server()
        with Terminal() as terminal, watch(terminal), stop_on_signals(terminal):
            result = opencharacter(
                config,
                overrides,
                until,
                first=from_,
                refresh=requests[0],
                retry_rejects=requests[1],
            )
    print(result.model_dump_json(), flush=True)


def evaluate(config: str, /, *, model: Names = None, set_: Overrides = None) -> None:
    """Score models that are there already, and write a report; makes no training data.

    Prints progress to standard error and one JSON line to standard output at the end.

    Parameters
    ----------
    config:
        YAML file with the models and the section `evaluation`; it needs no personas.
    model:
        A role, `tuned`, or the folder or GGUF file of a model; may be given several times, the
        first is what the others are compared with. Left out: as configured.
    """
    quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    models, overrides = tuple(model or ()), tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        from flows.control.display import Terminal, watch
        from flows.pipeline import evaluate as score
        from flows.recipe.scoring import prepare_scoring

        prepare_scoring(config, models, overrides)
        await_server()
        with Terminal() as terminal, watch(terminal), stop_on_signals(terminal):
            result = score(config, models, overrides)
    print(result.model_dump_json(), flush=True)


def judge_card(
    config: str,
    /,
    *,
    judge: str | None = None,
    rows: str | None = None,
    set_: Overrides = None,
) -> None:
    """Measure a judge on answers whose score is known, and write its card; a second one is free.

    Prints progress to standard error and one JSON line to standard output at the end, which names
    the page and the JSON under <root>/judge_cards.

    Parameters
    ----------
    config:
        YAML file with the judge among its `models`; it needs no personas.
    judge:
        Any role of `models`. Left out: the first of `evaluation.judges`.
    rows:
        JSONL of labelled answers. Left out: the judge's own `calibration`, else the shipped ones.
    """
    quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    overrides = tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        from flows.control.display import Terminal, watch
        from flows.look.judge_card.preparing import prepare_card
        from flows.look.judge_card.running import judge_card as measure

        prepare_card(config, judge, rows, overrides)
        await_server()
        with Terminal() as terminal, watch(terminal), stop_on_signals(terminal):
            result = measure(config, judge, rows, overrides)
    print(result.model_dump_json(), flush=True)


def plan(config: str, /, *, set_: Overrides = None, json: bool = False) -> None:
    """Say what a run would make and what it would reuse, and why; starts nothing.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    json:
        Print JSON instead of a table.
    """
    quiet_prefect()
    from flows.plan.planning import plan_run
    from flows.plan.table import print_plan

    drawn = plan_run(config, set_ or ())
    print(drawn.model_dump_json() if json else print_plan(drawn))


def doctor(config: str | None = None, /, *, set_: Overrides = None) -> None:
    """Check the machine, the packages and, if given, a configuration and its storage.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    """
    quiet_prefect()
    from flows.control.doctor import examine

    sys.exit(0 if examine(config, set_ or ()) else 2)
