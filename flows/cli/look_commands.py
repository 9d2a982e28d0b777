"""Offers the commands that show what came out: `show | compare | matrix`.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from flows.cli.options import Names, Overrides
from flows.cli.process import quiet_prefect, stop_on_signals

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


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    for command in (show, compare, matrix):
        app.command(command)


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
    inspect: str | None = None,
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
        Where the sheet goes; - is standard output, .json is for Label Studio, .jsonl for Argilla.
    seed:
        Seed of the sheet's sample and order.
    inspect:
        Of answers, a folder to write them and their verdicts to as Inspect's logs, one a model.
    json:
        Of lineage, print JSON instead of a tree.
    """
    quiet_prefect()
    from flows.look.showing import check_shown
    from flows.recipe.opening import resolve

    check_shown(what, n=n, row=row, reason=reason, sample=sample, blind=blind, inspect=inspect)
    settings = resolve(config, set_ or ())
    if what == "lineage":
        from flows.look.lineage import show_lineage

        show_lineage(settings, str(row), as_json=json)
    elif inspect is not None:
        from flows.look.inspect_export import write_inspect_logs

        write_inspect_logs(settings, inspect)
    elif what == "answers" and (sample is not None or blind):
        from flows.look.sheets import SheetOptions, choose_rubrics, write_sheet

        count = 50 if sample is None else sample
        write_sheet(settings, SheetOptions(count, blind, out, seed, choose_rubrics(settings)))
    else:
        from flows.look.showing import show_rows

        show_rows(settings, what, n, reason)


def compare(
    run_a: str,
    run_b: str,
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    set_: Overrides = None,
    seed: int = 0,
    fail_below: Names = None,
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
        Seed of the pairs whose similarity is measured.
    fail_below:
        Gate as measure=bound, in the measure's unit (points; percentage points of a share): exits
        with 1 if the lower end of RUN_B's difference from RUN_A is below. Of the tuned model, or
        measure@model=bound; measure:task=bound of one task. Repeatable.
    json:
        Print JSON instead of tables.
    """
    quiet_prefect()
    from flows.look.comparing import compare_runs, print_comparison
    from flows.look.gates import read_gates, require_passed

    if root is None and config is not None:
        from flows.recipe.settings import load_settings

        root = load_settings(config, set_ or ()).storage.root
    gates = read_gates(fail_below or ())
    found = compare_runs(run_a, run_b, root, seed=seed, gates=gates)
    print(found.model_dump_json() if json else print_comparison(found))
    require_passed(found.gates)


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
        Seed of the pairs whose similarity is measured.
    json:
        Print JSON instead of tables.
    """
    quiet_prefect()
    from infra.cluster.reaper import reap_children
    from infra.orchestration.embedded_server import embedded_server

    overrides = tuple(set_ or ())
    with reap_children(), embedded_server() as await_server:
        from flows.control.display import Terminal, watch
        from flows.look.matrix import opencharacter_matrix, prepare_all, print_matrix

        prepare_all(configs, overrides, name, seed)
        await_server()
        with Terminal() as terminal, watch(terminal), stop_on_signals(terminal):
            found = opencharacter_matrix(list(configs), overrides, name, seed)
    print(found.model_dump_json() if json else print_matrix(found))
