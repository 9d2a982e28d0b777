"""Finds in an engine's log what kept it from starting, where vLLM only says to look for it."""

from __future__ import annotations

import re

from infra.errors import ConfigError, EngineError, Problem

_PREFIX = re.compile(
    r"^(?:\x1b\[[0-9;]*m)*(?:\([^()]*pid=\d+\)\s*)?(?:\x1b\[[0-9;]*m)*\s*"
    r"(?:(?:ERROR|CRITICAL|WARNING|INFO)\s+[\d:.\s-]*\[[^\]]*\]\s*)?"
)
_ERROR = re.compile(
    r"^(?:\w+\.)*(?P<kind>\w*(?:Error|Exception|Interrupt|Exit))\b:?\s*(?P<said>.*)"
)
_GENERIC = ("Engine core initialization failed", "See root cause above", "EngineDeadError")
_FINAL = {
    "AssertionError",
    "AttributeError",
    "FileNotFoundError",
    "ImportError",
    "JSONDecodeError",
    "KeyError",
    "ModuleNotFoundError",
    "NotImplementedError",
    "SafetensorError",
    "TypeError",
    "UnpicklingError",
    "ValidationError",
    "ValueError",
}
"""Of these a second start comes to the same."""
_MOST_CHARS = 600


def find_last_error(log: str) -> tuple[str, str] | None:
    """Return kind and message of the last error that is not a mere consequence of another."""
    lines = [_PREFIX.sub("", line).rstrip() for line in log.splitlines()]
    for place in range(len(lines) - 1, -1, -1):
        found = _ERROR.match(lines[place])
        if found is None or any(words in lines[place] for words in _GENERIC):
            continue
        said = found["said"]
        for more in lines[place + 1 : place + 4]:  # pydantic says on the next lines what is wrong
            if not more.strip() or _ERROR.match(more) or more.startswith("Traceback"):
                break
            said += f" {more.strip()}"
        return found["kind"], " ".join(said.split())[:_MOST_CHARS]
    return None


def explain_start(model: str, error: EngineError, log: str) -> EngineError | ConfigError:
    """Return the error to raise for an engine that did not start, with its own last error.

    One that a second start would meet again is a :class:`ConfigError`: nobody tries it again.
    """
    found = find_last_error(log)
    if found is None or (found[1] and found[1] in str(error)):
        kind = found[0] if found else ""
        return _rank(model, kind, str(error)) if kind else error
    kind, said = found
    return _rank(model, kind, f"{kind}: {said}" if said else kind, str(error))


def _rank(model: str, kind: str, what: str, before: str = "") -> EngineError | ConfigError:
    if kind in _FINAL and "memory" not in what.lower():  # which may be free the next time
        todo = "give another model or fix its settings; `opencharacter doctor CONFIG` checks it"
        return ConfigError(Problem(f"model {model}", f"its engine does not start: {what}", todo))
    return EngineError(f"{what}\n{before}".strip())
