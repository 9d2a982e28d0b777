"""Compares the stage runner with ray.data.llm, from Parquet to Parquet, at equal arguments.

Both sides take turns, each a process with a Ray and an engine of its own; told are rows per second
with the start, and without it, from when a tenth of the rows is finished until all are written.

    make bench ONLY=ray_data
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from infra.store.fingerprints import content_key
from tests.benchmarks.hardware import save_record
from tests.benchmarks.ray_data_sides import SIDES

_HERE = "tests.benchmarks.ray_data"
_ENGINE = {"max_num_seqs": 64, "cpu_kv_cache_gib": 0.5, "max_model_len": 1024}
_OURS, _THEIRS = SIDES
_WANTED = {"steady_rows_per_s": 1.0, "rows_per_s": 1.2}
_SIDE_S = 1200


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/teacher")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--pairs", type=int, default=2, help="runs of each side")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    began = os.getloadavg()[0]
    pairs = []
    for number in range(arguments.pairs):
        names = [_OURS, _THEIRS] if number % 2 else [_THEIRS, _OURS]
        pairs.append({name: _measure(name, arguments) for name in names})
        print(f"pair {number + 1}: {pairs[-1]}", flush=True)
    ratios = {name: [pair[_OURS][name] / pair[_THEIRS][name] for pair in pairs] for name in _WANTED}
    for name, wanted in _WANTED.items():
        median = statistics.median(ratios[name])
        print(f"{name}: median ratio {median:.3f} (wanted: at least {wanted:g})", flush=True)
    if arguments.save:
        kept = {
            "pairs": pairs,
            "ratios": {name: [round(one, 4) for one in found] for name, found in ratios.items()},
        }
        save_record(arguments.save, _HERE, began, kept)


def _measure(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Have a side answer everything, in a process of its own and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/personas.parquet"
        _write_personas(source, arguments.rows)
        task = {
            "model": str(Path(arguments.model).resolve()),
            "source": source,
            "target": f"{folder}/answers",
            "new_tokens": arguments.new_tokens,
            "engine": _ENGINE,
        }
        command = [sys.executable, "-m", "tests.benchmarks.ray_data_sides", side, json.dumps(task)]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=log, text=True, timeout=_SIDE_S
            )
            if done.returncode:
                log.seek(0)
                raise SystemExit(f"{side} failed:\n{log.read()[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _write_personas(path: str, rows: int) -> None:
    texts = [
        f"A baker number {n} from Lisbon who loves hiking and has {n} cats" for n in range(rows)
    ]
    keys = [content_key("bench", text) for text in texts]
    pl.DataFrame({"key": keys, "persona": texts}).write_parquet(path)


if __name__ == "__main__":
    main()
