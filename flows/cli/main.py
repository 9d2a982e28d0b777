"""Builds the command line: what `opencharacter --help` lists.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App

from flows.cli import look_commands, run_commands, store_commands, talk_commands
from flows.cli.error_lines import DEBUG, describe_error
from infra.errors import InterruptedRun, OpenCharacterError
from infra.orchestration.defaults import CONSOLE_LEVEL

_RARELY = (50_000, 20, 100)
"""The collector's thresholds: looking at every new module again takes a fifth of all imports."""

app = App(
    name="opencharacter",
    help="Train customisable role-playing language models from synthetic personas.",
    help_epilogue=f"{DEBUG}, after any command, shows the traceback of an error.",
    version=lambda: version("opencharacter"),
    version_flags=["--version"],
)
for group in (run_commands, look_commands, talk_commands, store_commands):
    group.add_commands(app)


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
