"""Offers the commands that operate a store: `runs | status | diff | verify | gc | bundle`.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter
from pydantic_core import to_json

from flows.cli.options import Overrides


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    for command in (runs, status, diff, verify, gc, bundle):
        app.command(command)


def runs(
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    n: Annotated[int, Parameter(name=["-n"])] = 20,
    set_: Overrides = None,
    json: bool = False,
) -> None:
    """List what ran in a store: when, how it ended or how far it came, rows and scores.

    Parameters
    ----------
    config:
        YAML file whose storage root is looked at.
    root:
        Storage root, in place of CONFIG.
    n:
        How many, the latest first.
    json:
        Print JSON instead of a table.
    """
    from flows.runs.listing import list_runs, print_runs
    from flows.runs.store_care import choose_root, require_store
    from infra.errors import ConfigError, Problem

    if n < 1:
        raise ConfigError(Problem("-n", f"is {n}", "list at least 1 run"))
    found = list_runs(choose_root(config, root, set_ or ()), n)
    if root is not None and not found.runs:
        require_store(root)
    print(found.model_dump_json() if json else print_runs(found))


def status(
    run: str,
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    set_: Overrides = None,
    json: bool = False,
) -> None:
    """Say where a run stands, node by node, while it goes or after it ended.

    Parameters
    ----------
    run:
        Folder of a run, <root>/runs/<name>, or a name with CONFIG or --root; name@id is an
        earlier start, as `runs` lists them.
    config:
        YAML file whose storage root names are looked up in.
    root:
        Storage root that names are looked up in.
    json:
        Print JSON instead of a table.
    """
    from flows.runs.listing import find_status, print_status
    from flows.runs.past_runs import find_run

    storage, name = find_run(f"RUN {run}", run, find_root(config, root, set_))
    found = find_status(storage, name, f"RUN {run}")
    print(found.model_dump_json() if json else print_status(found))


def diff(
    run_a: str,
    run_b: str,
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    set_: Overrides = None,
    json: bool = False,
) -> None:
    """Say in which knobs, prompts and nodes two runs differ.

    Parameters
    ----------
    run_a:
        A run, given as for `status`.
    run_b:
        The run that is compared with it.
    config:
        YAML file whose storage root names are looked up in.
    root:
        Storage root that names are looked up in.
    json:
        Print JSON instead of text.
    """
    from flows.runs.diff import diff_runs, print_diff

    found = diff_runs(run_a, run_b, find_root(config, root, set_))
    print(found.model_dump_json() if json else print_diff(found))


def verify(
    config: str | None = None,
    /,
    *,
    root: str | None = None,
    set_: Overrides = None,
    json: bool = False,
) -> None:
    """Check every file of a store to the last byte; exit 1 with a list if something is unsound.

    Parameters
    ----------
    config:
        YAML file whose storage root is checked.
    root:
        Storage root, in place of CONFIG.
    json:
        Print JSON instead of text.
    """
    from flows.runs.store_care import choose_root, print_verdict, verify_store

    with _show_share("verify") as show:
        found = verify_store(
            choose_root(config, root, set_ or ()), lambda so_far: show(so_far.size, so_far.all_size)
        )
    print(found.model_dump_json() if json else print_verdict(found))
    sys.exit(0 if found.sound else 1)


def gc(
    config: str | None = None,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    keep: int,
    cache_days: float = 30.0,
    root: str | None = None,
    set_: Overrides = None,
    json: bool = False,
) -> None:
    """Remove what the latest runs of each name do not need; it asks nothing, so --dry-run first.

    And what this machine's cache keeps of models and files that nobody used for long.

    Parameters
    ----------
    config:
        YAML file whose storage root is cleaned.
    dry_run:
        Only say what would go, and how many bytes.
    keep:
        How many runs of each name keep everything; finished and running ones always do.
    cache_days:
        How many days the cache keeps what nobody uses; 0 leaves only what is in use.
    root:
        Storage root, in place of CONFIG.
    json:
        Print JSON instead of text.
    """
    from flows.runs.cache_care import choose_bound, clean_cache, print_cache
    from flows.runs.store_care import choose_root, clean_store, print_cleaning
    from infra.errors import ConfigError, Problem

    if cache_days < 0:
        raise ConfigError(Problem("--cache-days", f"is {cache_days:g}", "give 0 or more"))
    choose_bound(config, set_ or ())
    found = clean_store(choose_root(config, root, set_ or ()), keep, dry_run=dry_run)
    cache = clean_cache(cache_days, dry_run=dry_run)
    if json:
        print(to_json({**found.model_dump(), "cache": cache}).decode())
    else:
        print(print_cleaning(found), print_cache(cache), sep="\n")


def bundle(
    run: str,
    config: str | None = None,
    /,
    *,
    out: str = "bug.zip",
    root: str | None = None,
    set_: Overrides = None,
) -> None:
    """Pack what a bug report needs of a run: no rows, no secrets; look through the logs in it.

    Parameters
    ----------
    run:
        A run, given as for `status`.
    config:
        YAML file whose storage root names are looked up in.
    out:
        The archive to write.
    root:
        Storage root that names are looked up in.
    """
    from pathlib import Path

    from flows.runs.bundle import bundle_run, print_bundle
    from flows.runs.past_runs import find_run

    storage, name = find_run(f"RUN {run}", run, find_root(config, root, set_))
    print(print_bundle(bundle_run(storage, name, Path(out), f"RUN {run}")))


def find_root(config: str | None, root: str | None, overrides: list[str] | None) -> str | None:
    """Return the storage root that names of runs are looked up in, if one is given."""
    if root is None and config is None:
        return None
    from flows.runs.store_care import choose_root

    return choose_root(config, root, overrides or ())


@contextmanager
def _show_share(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how many of all bytes are done; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
