"""Is the command line, or is imported by a worker, and dies at one file operation of its own.

Python tells of every file that it opens, renames or removes (:func:`sys.addaudithook`), so that a
process can die between two of them without a line of the product being replaced.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from infra.protocol import Request
from tests.e2e.scripted import respond_and_log

_DRIVER, _WORKER = "OPENCHARACTER_TEST_DIES_AT", "OPENCHARACTER_TEST_WORKER_DIES_AT"


@dataclass(frozen=True, slots=True)
class FatalMoment:
    """The how-many-eth operation of a kind on files whose path is like this is the last.

    Attributes:
        event: ``open``, ``os.rename`` or ``os.remove``, of which the target's path counts.
        path: Regular expression.
        number: The first is 1.
        once: A file that is made on dying; while it exists nobody dies.
    """

    event: str
    path: str
    number: int = 1
    once: str = ""

    def as_environment(self, *, worker: bool = False) -> dict[str, str]:
        """Return the variable that tells a process of it."""
        return {_WORKER if worker else _DRIVER: json.dumps(asdict(self))}


@cache
def arm(variable: str) -> None:
    """Die at the moment that the environment names, if it names one; again does nothing."""
    told = os.environ.get(variable)
    if not told:
        return
    moment = FatalMoment(**json.loads(told))
    pattern, left = re.compile(moment.path), [moment.number]

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event != moment.event:
            return
        path = arguments[1] if event == "os.rename" else arguments[0]
        if not isinstance(path, (str, os.PathLike)) or not pattern.search(os.fspath(path)):
            return
        left[0] -= 1
        if left[0] == 0 and _is_first(moment.once):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def _is_first(marker: str) -> bool:
    if not marker:
        return True
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def respond(request: Request) -> str:
    """Answer as the scripted engine does, and note the request in the ledger."""
    arm(_WORKER)
    return respond_and_log(request)


if __name__ == "__main__":
    arm(_DRIVER)
    from flows.cli.main import main

    main()
