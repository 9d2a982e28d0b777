"""Runs benchmarks one after the other, and ends with a table of what they found.

Without names it runs those that fit into a quarter of an hour of two cores, with fewer rows and
pairs; ``--full`` runs all as they are. One that fails is told at the end, and the others go on. The
figures of a run of several lie in one file, named by the day and the machine.

    make bench
    make bench ONLY='runner prefix'
    make bench FULL=1
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.benchmarks.hardware import describe_hardware

_HERE = "tests.benchmarks"
_RESULTS = Path(__file__).with_name("results")
_VERDICTS = ("wanted", "target")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark is about, and its arguments in the short run; ``None``: it is not in it."""

    about: str
    short: str | None


BENCHES = {
    "runner": Bench("the stage runner's own cost", "--times 1"),
    "generation": Bench("the stage runner against LLM.generate", "--pairs 2 --rows 1200"),
    "prefix": Bench("rows by character against rows in no order", "--pairs 1"),
    "engine_start": Bench("an engine's start against vLLM's own", "--pairs 1"),
    "training": Bench("training against TRL", "--pairs 1"),
    "scale": Bench("what a run costs beside its models", "--rows 10000 --times 1"),
    "report": Bench("the report of a large run", "--part 0.1 --times 3"),
    "ray_data": Bench("the stage runner against ray.data.llm", None),
    "smollm": Bench("a real language model against bare vLLM and PyTorch", None),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a benchmark: its seconds, what it said of its targets, its figures."""

    seconds: float
    verdicts: Sequence[str]
    figures: dict[str, Any] | None


def main() -> None:
    """Run what was asked for; exit status 1 if one failed."""
    listed = "\n".join(
        f"  {name:<14}{bench.about}{'' if bench.short is not None else ' (not in the short run)'}"
        for name, bench in BENCHES.items()
    )
    parser = argparse.ArgumentParser(
        prog=f"python -m {_HERE}",
        description=__doc__,
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("only", nargs="*", metavar="NAME", help="these, at full size")
    parser.add_argument("--full", action="store_true", help="all, at full size")
    parser.add_argument("--save", type=Path, help="where the figures go, in place of results/")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.only if name not in BENCHES]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    whole = arguments.full or bool(arguments.only)
    names = arguments.only or [
        name for name, bench in BENCHES.items() if whole or bench.short is not None
    ]
    began = os.getloadavg()[0]
    found: dict[str, Outcome] = {}
    for name in names:
        options = [] if whole else (BENCHES[name].short or "").split()
        print(f"== {name}: {BENCHES[name].about}", flush=True)
        found[name] = _run(name, options)
    _print_table(found)
    if arguments.save or len(names) > 1:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "load": [round(began, 1), round(os.getloadavg()[0], 1)],
            "seconds": {name: round(outcome.seconds) for name, outcome in found.items()},
            **{name: outcome.figures for name, outcome in found.items()},
        }
        path = arguments.save or _RESULTS / f"{record['date']}-{_name_machine()}.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"figures: {path}")
    sys.exit(any(outcome.figures is None for outcome in found.values()))


def _run(name: str, options: Sequence[str]) -> Outcome:
    """Run a benchmark as a program of its own, passing on what it says."""
    verdicts, began = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "figures.json")
        command = [sys.executable, "-m", f"{_HERE}.{name}", *options, "--save", str(saved)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                if any(word in line for word in _VERDICTS):
                    verdicts.append(" ".join(line.split()))
        sound = process.returncode == 0 and saved.is_file()
        figures = json.loads(saved.read_text(encoding="utf-8")) if sound else None
    return Outcome(time.monotonic() - began, verdicts, figures)


def _print_table(found: dict[str, Outcome]) -> None:
    print("\nbenchmark       minutes   found")
    for name, outcome in found.items():
        said = list(outcome.verdicts) or ["see above"]
        lines = said if outcome.figures is not None else ["failed"]
        print(f"{name:<14}{outcome.seconds / 60:9.1f}   {lines[0]}")
        for line in lines[1:]:
            print(f"{'':26}{line}")
    print(
        f"{'in all':<14}{sum(outcome.seconds for outcome in found.values()) / 60:9.1f}", flush=True
    )


def _name_machine() -> str:
    """Return the hardware as part of a file's name."""
    plain = describe_hardware().lower().replace("(r)", "").replace("×", "x")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


if __name__ == "__main__":
    main()
