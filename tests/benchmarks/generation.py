"""Compares the stage runner with ``LLM.generate`` on the same requests and engine arguments.

Both sides answer the same token-id prompts with the same sampling, batch by batch in turn, engine
start left out, and on CPUs a first batch; the figure is the median of the batches' ratios.

    make bench ONLY=generation
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from tests.benchmarks.generation_sides import Figures, Side, Task
from tests.benchmarks.hardware import count_gpus, describe_hardware

_HERE = "tests.benchmarks.generation"
RUNNER, GENERATE = "runner", "LLM.generate"


def main() -> None:
    """Run the pairs and print the ratio."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/teacher")
    parser.add_argument("--rows", type=int, default=2400, help="answers of a batch")
    parser.add_argument("--pairs", type=int, default=6, help="batches of each side")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument(
        "--engine", type=json.loads, default={}, help="further knobs of the model, as JSON"
    )
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    task = Task(arguments.model, arguments.rows, arguments.new_tokens, arguments.engine)
    pairs = run_pairs(task, arguments.pairs)
    ratios = [pair[RUNNER]["rows_per_s"] / pair[GENERATE]["rows_per_s"] for pair in pairs]
    median = statistics.median(ratios)
    print(f"median ratio {median:.3f} over {len(ratios)} alternated pairs (wanted: at least 0.90)")
    if arguments.save:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "rows": arguments.rows,
            "pairs": pairs,
            "ratios": [round(ratio, 4) for ratio in ratios],
            "median": round(median, 4),
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run_pairs(
    task: Task, pairs: int, environment: Mapping[str, str] | None = None
) -> list[dict[str, Figures]]:
    """Have both sides answer batches in turn, and begin in turn; print and return them.

    ``environment`` are variables of ``LLM.generate``'s side. GPUs have no memory for two engines:
    there every batch has a process of its own.
    """
    kinds = {RUNNER: ("runner", {}), GENERATE: ("generate", environment or {})}
    found: list[dict[str, Figures]] = []
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        if not count_gpus():
            for name, (kind, own) in kinds.items():
                sides[name] = Side(kind, task, own)
                stack.callback(sides[name].close)
                sides[name].measure(0)
        for number in range(1, pairs + 1):
            pair: dict[str, Figures] = {}
            for name in _order(list(kinds), number):
                if name in sides:
                    pair[name] = sides[name].measure(number)
                    continue
                kind, own = kinds[name]
                side = Side(kind, task, own)
                try:
                    pair[name] = side.measure(number)
                finally:
                    side.close()
            found.append({name: pair[name] for name in kinds})
            _tell(number, pair)
    return found


def _order(names: list[str], number: int) -> Sequence[str]:
    return names if number % 2 else names[::-1]


def _tell(number: int, pair: Mapping[str, Figures]) -> None:
    runner, generate = pair[RUNNER], pair[GENERATE]
    print(
        f"pair {number}: runner {runner['rows_per_s']:.2f} rows/s, "
        f"LLM.generate {generate['rows_per_s']:.2f} rows/s "
        f"({generate['tokens_per_s']:,.0f} new tokens/s), "
        f"ratio {runner['rows_per_s'] / generate['rows_per_s']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
