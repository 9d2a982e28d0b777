"""Soaks the pipeline: one long run whose memory must not grow, and many runs for one server.

Memory of the driver, its workers, the scripted engine, Ray and Prefect's server is sampled all
along, and so are Prefect's database and the store. Told is what each grew by over the second half
of the run, a hundred thousand rows and an hour; a kind that grew by more than ``--most`` MiB there
and a tenth fails the soak. What the store takes grows with its rows, as it should. FULL=1 takes two
hours.

    make soak
    FULL=1 make soak
    python -m tests.soak --minutes 10 --queued 0 --save soak.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

from tests.benchmarks.hardware import describe_hardware
from tests.soak.long_run import make_rows
from tests.soak.queue import queue_runs
from tests.soak.samples import Growth, Sample, measure_growth

_TENTH = 0.1
_GROWS = ("rows",)
"""Grows with the rows, by design."""


def main() -> None:
    """Do both parts, tell of them, and fail where something grew or a run did not complete."""
    full = bool(os.environ.get("FULL"))
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120 if full else 6, help="of the long run")
    parser.add_argument("--rate", type=float, default=100, help="rows a second it is paced to")
    parser.add_argument("--queued", type=int, default=20 if full else 4, help="runs for one server")
    parser.add_argument("--most", type=float, default=64, help="MiB that a kind may grow by")
    parser.add_argument("--save", type=Path, help="also write what was found as JSON")
    chosen = parser.parse_args()
    found: dict[str, object] = {
        "date": date.today().isoformat(),
        "command": " ".join(["python -m tests.soak", *sys.argv[1:]]),
        "hardware": describe_hardware(),
    }
    failures = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        if chosen.minutes:
            samples = make_rows(Path(folder) / "long", chosen.minutes, chosen.rate)
            # While rows are made: what comes before and after reads and writes whole stages.
            growth = measure_growth([sample for sample in samples if "worker" in sample.sizes])
            print(write_curve(samples), write_growth(growth), sep="\n\n", flush=True)
            failures += [grown.kind for grown in growth if is_too_much(grown, chosen.most)]
            found |= {"samples": list(map(asdict, samples)), "growth": list(map(asdict, growth))}
        if chosen.queued:
            queued = queue_runs(Path(folder) / "queue", chosen.queued)
            print(
                f"\n{queued.completed} of {queued.runs} queued runs done in {queued.seconds} s:"
                f" {queued.rows:,} rows, {queued.twice} of them twice"
            )
            failures += ["queue"] if queued.completed < queued.runs or queued.twice else []
            found["queue"] = asdict(queued)
    found["failed"] = failures
    if chosen.save:
        chosen.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if failures:
        raise SystemExit(f"grew, or did not complete: {', '.join(failures)}")


def is_too_much(growth: Growth, most: float) -> bool:
    """Tell whether a kind grew by more than so many MiB and more than a tenth."""
    grown = growth.last - growth.first
    return growth.kind not in _GROWS and grown > most and grown > _TENTH * growth.first


def write_curve(samples: list[Sample], lines: int = 12) -> str:
    """Write the memory by kind, in MiB, at moments that are evenly apart, as a Markdown table."""
    kinds = sorted({kind for sample in samples for kind in sample.sizes})
    places = sorted({round(n * (len(samples) - 1) / (lines - 1)) for n in range(lines)})
    head = ["| minutes | rows | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    return "\n".join(
        head
        + [
            f"| {sample.seconds / 60:.1f} | {sample.rows:,} | "
            + " | ".join(f"{sample.sizes.get(kind, 0):,.0f}" for kind in kinds)
            + " |"
            for sample in (samples[place] for place in places)
        ]
    )


def write_growth(growth: list[Growth]) -> str:
    """Write what each kind grew by over the second half, as a Markdown table."""
    head = [
        "| second half | from, MiB | to, MiB | a 100,000 rows | an hour |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(
        head
        + [
            f"| {grown.kind} | {grown.first:,.0f} | {grown.last:,.0f} | {grown.per_rows:+,.1f}"
            f" | {grown.per_hour:+,.0f} |"
            for grown in growth
        ]
    )


if __name__ == "__main__":
    main()
