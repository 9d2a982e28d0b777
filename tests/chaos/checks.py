"""Says what has to hold after every fault: nothing lost, nothing twice, nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.chaos.stores import Rows

_STAYS = ("ray", "torchinductor_")
"""What may stay in a temporary folder: Ray's logs, which messages point to, and compiled code."""


def count_rows(rows: Rows) -> int:
    """Count the rows of all stages."""
    return sum(frame.height for frame in rows.values())


def check_kept(before: Rows, after: Rows) -> None:
    """Check that every row is still there as it was, and none is there twice."""
    for stage, rows in after.items():
        assert rows["key"].n_unique() == rows.height, f"{stage}: a row is there twice"
    for stage, rows in before.items():
        again = after[stage].join(rows, on="key", how="semi")
        assert again.equals(rows), f"{stage}: a committed row is gone or changed"


def check_complete(result: Mapping[str, Any], rows: Rows) -> None:
    """Check that a finished run's counts add up, and are those of the rows on disk."""
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
        if name in rows:
            assert counts["planned"] == rows[name].height, name


def check_same(calm: Rows, rows: Rows) -> None:
    """Check that rows are those of a run that nothing happened to."""
    assert calm.keys() == rows.keys()
    for stage, expected in calm.items():
        assert rows[stage].equals(expected), f"{stage}: not the rows of a calm run"


def count_again(asked_before: Iterable[str], asked_since: Iterable[str], kept: Rows) -> int:
    """Count the requests that were made again; none may be of a row that was committed."""
    since = list(asked_since)
    committed = {key for frame in kept.values() for key in frame["key"].to_list()}
    wasted = [name for name in since if name.split("-")[0] in committed]
    assert not wasted, f"asked again though committed: {wasted[:3]}"
    return len(set(asked_before).intersection(since))


def await_no_processes(temporary: Path, timeout_s: float = 120) -> None:
    """Wait until nothing runs any more whose temporary folder is below this one.

    All that a run starts inherits it, and nobody else has it, whoever uses this machine.
    """
    deadline = time.monotonic() + timeout_s
    while left := _list_processes(f"{temporary}"):
        assert time.monotonic() < deadline, f"left behind: {'; '.join(left)}"
        time.sleep(0.3)


def _list_processes(temporary: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            own = process.environ().get("TMPDIR", "")
            if own.startswith(temporary) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return found


def find_left_behind(temporary: Path) -> list[str]:
    """List what is left in the temporary folder of runs that are over."""
    return sorted(path.name for path in temporary.iterdir() if not path.name.startswith(_STAYS))
