"""Says in a few lines what ended a command; the traceback comes only to who asks for it."""

from __future__ import annotations

import traceback
from pathlib import Path

from infra.errors import ConfigError, InterruptedRun, OpenCharacterError

DEBUG = "--debug"
_MOST_LINES = 8
_MOST_CHARS = 1_500
_OWN = ("flows", "tasks", "infra")


def describe_error(error: BaseException, *, debug: bool = False) -> str:
    """Return the message of an error: its kind, what it says, and what to do next."""
    told = "".join(traceback.format_exception(error)) if debug else ""
    if isinstance(error, OpenCharacterError):
        text = f"{type(error).__name__}: {error}"
        whole = debug or isinstance(error, ConfigError)  # of whose problems each is to be fixed
        lines = [text if whole else shorten(text)]
        if isinstance(error, InterruptedRun):
            lines.append("Run the same command again to go on where it stopped.")
        return told + make_safe("\n".join(lines))
    text = shorten(f"{type(error).__name__}: {error}".rstrip(": "))
    return told + make_safe("\n".join([text, _say_where(error), _say_todo(error, debug)]))


def make_safe(text: str) -> str:
    """Show control characters, which could steer a terminal, by a sign in their place."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\ufffd" for mark in text)


def shorten(text: str) -> str:
    """Cut a message to a few lines, its first and its last."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        left = len(lines) - _MOST_LINES
        lines = [*lines[:half], f"… {left} more lines, with {DEBUG}", *lines[-half:]]
    each = _MOST_CHARS // max(1, len(lines))
    return "\n".join(line if len(line) <= each else f"{line[:each]}…" for line in lines)


def _say_where(error: BaseException) -> str:
    """Name the place in the program, as far as it is our own."""
    frames = traceback.extract_tb(error.__traceback__)
    root = Path(__file__).parents[2]
    own = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(root)
        and Path(frame.filename).relative_to(root).parts[0] in _OWN
        and frame.name != "main"
    ]
    if not own:
        return "It came from outside this program's own code."
    last = own[-1]
    return f"It came up in {Path(last.filename).relative_to(root)}:{last.lineno}, {last.name}."


def _say_todo(error: BaseException, debug: bool) -> str:
    if type(error).__module__.startswith(("prefect", "httpx", "httpcore")):
        return (
            "Prefect's server did not do its part; `prefect server start` shows why. "
            "PREFECT_API_URL names another one, PREFECT_HOME another place for its database."
        )
    more = "" if debug else f"{DEBUG} shows the whole traceback; "
    return f"Everything committed is kept. {more}`opencharacter bundle RUN` packs a bug report."
