"""Measures what the stage runner itself costs, on engines that take no time or always the same.

One worker whose engine answers at once shows the rows per second that one coordinator hands out,
has made, and commits to Parquet, from the first request to the last committed row; eight workers of
50 rows/s each show what of their rate arrives.
CPU seconds per row are told beside the clock, which says little on a machine that is shared.
``--against FOLDER`` names another checkout, which does the same work in turns, and has to come to
the same rows.

    make bench ONLY=runner
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.hardware import save_record

_HERE = "tests.benchmarks.runner"
_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("runner_work.py")


@dataclass(frozen=True, slots=True)
class Work:
    """Stage of so many rows; every worker's engine has ``window`` rows open, each so long."""

    rows: int
    workers: int
    window: int
    latency_s: float

    @property
    def ideal_rows_per_s(self) -> float | None:
        """Return what the engines make together; nothing where they take no time."""
        return self.workers * self.window / self.latency_s if self.latency_s else None


WORK = {
    "one": Work(rows=40_960, workers=1, window=64, latency_s=0.0),
    "eight": Work(rows=8 * 16 * 60, workers=8, window=16, latency_s=0.32),
}
_LEAST = {"one": 5000.0, "eight": 0.95}
"""Rows per second that are wanted, and the share of the ideal."""


def main() -> None:
    """Do the work, print and save the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=WORK, default=list(WORK), metavar="NAME")
    parser.add_argument("--times", type=int, default=3, help="runs of each piece of work")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    checkouts = [_ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    began = os.getloadavg()[0]
    found: dict[str, Any] = {}
    for name in arguments.only:
        work = WORK[name]
        sides = [list[dict[str, Any]]() for _ in checkouts]
        for _ in range(arguments.times):
            for side, checkout in zip(sides, checkouts, strict=True):
                side.append(_measure(work, checkout))
                print(f"  {checkout}: {side[-1]}", flush=True)
        if len({run["digest"] for side in sides for run in side}) > 1:
            raise SystemExit(f"{name}: the rows differ")
        found[name] = {
            **asdict(work),
            **_summarise(work, sides[0]),
            **({"before": _summarise(work, sides[1])} if arguments.against else {}),
            "wanted": _LEAST[name],
        }
        _tell(name, found[name])
    if arguments.save:
        kept = {"work": found}
        save_record(arguments.save, _HERE, began, kept)


def _measure(work: Work, checkout: Path) -> dict[str, Any]:
    """Do a piece of work with a checkout's code, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", str(_SCRIPT), json.dumps(asdict(work))],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), str(_SCRIPT.parent)])},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summarise(work: Work, runs: list[dict[str, Any]]) -> dict[str, Any]:
    rate = round(statistics.median(work.rows / run["first_to_last_row_s"] for run in runs), 1)
    ideal = work.ideal_rows_per_s
    return {
        "rows_per_s": rate,
        **({"share_of_ideal": round(rate / ideal, 3)} if ideal else {}),
        "cpu_us_per_row": {
            name: statistics.median(run["cpu_us_per_row"][name] for run in runs)
            for name in runs[0]["cpu_us_per_row"]
        },
        "runs": runs,
    }


def _tell(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {_write(found)} (wanted: {found['wanted']:g})", end="")
    print(f"; before: {_write(found['before'])}" if "before" in found else "")


def _write(side: dict[str, Any]) -> str:
    cpu = ", ".join(f"{name} {value:.0f}" for name, value in side["cpu_us_per_row"].items())
    share = f", {side['share_of_ideal']:.3f} of the ideal" if "share_of_ideal" in side else ""
    return f"{side['rows_per_s']:,.0f} rows/s{share}, µs of CPU per row: {cpu}"


if __name__ == "__main__":
    main()
