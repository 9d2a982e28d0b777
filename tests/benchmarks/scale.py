"""Measures what a run of the paper's size costs beside its models.

That is 306,252 dialogues, 200,000 personas, 60,000 verdicts, and a stage of a million rows. Each
piece of work runs in a process of its own, on a store that was written before. Told are its
seconds, the median of three where it takes less than twenty, the most memory that it held, and a
digest of what came out. ``--against FOLDER`` names another checkout, which does the same work in
turns, and has to come to the same.

    make bench ONLY=scale
    python -m tests.benchmarks.scale --only plan curate --rows 20000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import scale_store
from tests.benchmarks.hardware import save_record

_HERE = "tests.benchmarks.scale"
_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("scale_work.py")
_DIALOGUES = 306_252
_LONG_S = 20.0


@dataclass(frozen=True)
class Row:
    """Row of the table: a piece of work, the store it works on, and what it is to take at most."""

    store: Callable[[str, int], None]
    rows: int
    target_s: float
    target_mib: int | None = None


ROWS = {
    "plan": Row(scale_store.write_dialogues, _DIALOGUES, 5, 500),
    "curate": Row(scale_store.write_dialogues, _DIALOGUES, 60, 2_000),
    "export": Row(scale_store.write_dialogues, _DIALOGUES, 15),
    "show": Row(scale_store.write_dialogues, _DIALOGUES, 1),
    "stage-end": Row(scale_store.write_stage, 1_000_000, 4),
    "scores": Row(scale_store.write_verdicts, 60_000, 4),
    "tokens": Row(scale_store.write_dialogues, 20_000, 11),
    "personas": Row(scale_store.write_personas, 200_000, 20),
    "personas-any-language": Row(scale_store.write_personas, 200_000, 20),
}


def main() -> None:
    """Write the stores, do the work, print and save the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--rows", type=int, help="rows of every store; left out, the full size")
    parser.add_argument("--times", type=int, default=3, help="runs of what takes less than 20 s")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--stores", type=Path, help="keep the stores here, for the next time")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    checkouts = [_ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    found: dict[str, Any] = {}
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        home = (arguments.stores or Path(scratch)).resolve()
        for name in arguments.only:
            row, rows = ROWS[name], arguments.rows or ROWS[name].rows
            folder = _provide_store(home, row, rows)
            print(f"{name}, {rows:,} rows", flush=True)
            sides = [list[dict[str, Any]]() for _ in checkouts]
            for place, checkout in _take_turns(checkouts, arguments.times, sides):
                sides[place].append(_measure(name, folder, checkout))
                print(f"  {checkout}: {sides[place][-1]}", flush=True)
            if len({run["digest"] for side in sides for run in side}) > 1:
                raise SystemExit(f"{name}: what came out differs")
            found[name] = {
                "rows": rows,
                **_summarise(sides[0]),
                **({"before": _summarise(sides[1])} if arguments.against else {}),
                "target_s": row.target_s,
                "target_mib": row.target_mib,
            }
    _print_table(found)
    if arguments.save:
        kept = {"work": found}
        save_record(arguments.save, _HERE, began, kept)


def _provide_store(home: Path, row: Row, rows: int) -> str:
    """Write a store, unless it is there, in a process of its own."""
    folder = home / f"{row.store.__name__}-{rows}"
    if not (folder / "written").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(row.store, (str(folder), rows))
        (folder / "written").touch()
    return str(folder)


def _take_turns(
    checkouts: list[Path], times: int, sides: list[list[dict[str, Any]]]
) -> Iterator[tuple[int, Path]]:
    """Yield whose turn it is; what takes long has one turn."""
    for number in range(times):
        if number and sides[0][0]["seconds"] >= _LONG_S:
            return
        yield from enumerate(checkouts)


def _measure(name: str, folder: str, checkout: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", str(_SCRIPT), name, folder],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs]
    return {
        "median_s": round(statistics.median(seconds), 2),
        "seconds": seconds,
        "cpu_s": [run["cpu_s"] for run in runs],
        "peak_mib": max(run["peak_mib"] for run in runs),
        "digest": runs[0]["digest"],
    }


def _print_table(found: dict[str, Any]) -> None:
    for name, row in found.items():
        print(f"{name:22} {row['rows']:9,} rows   {_write(row)}", end="")
        print(f"   before {_write(row['before'])}" if "before" in row else "", end="")
        most = f", {row['target_mib']:,} MiB" if row["target_mib"] else ""
        print(f"   (target {row['target_s']:g} s{most})")


def _write(side: dict[str, Any]) -> str:
    cpu_s = statistics.median(side["cpu_s"])
    return f"{side['median_s']:7.2f} s, {cpu_s:7.2f} s of CPU, {side['peak_mib']:5,} MiB"


if __name__ == "__main__":
    main()
