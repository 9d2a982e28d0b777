"""Compares us with bare vLLM and bare PyTorch on a real language model of 135 M, on CPUs.

Generation: the stage runner as users have it, against ``LLM.generate`` on the same requests in
the best arrangement of threads that vLLM offers, found first; the figure is our rate over its.
Training: a rank as users have it, against a plain PyTorch loop over the same packed rows in fp32.
Machines are shared: generation takes turns by seconds, training is compared step by step; start-up
is left out.

    make bench ONLY=smollm
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from infra.engines.cpu_threads import BINDING
from infra.models.folders import fetch_model
from tasks.training.config import TrainingConfig
from tests.benchmarks.generation import RUNNER, run_pairs
from tests.benchmarks.generation_sides import Side as GenerationSide
from tests.benchmarks.generation_sides import Task
from tests.benchmarks.hardware import describe_hardware
from tests.benchmarks.training_rows import DATA, lay_out_rows
from tests.benchmarks.training_sides import UNDISTURBED, Setup, Side, train

_HERE = "tests.benchmarks.smollm"
_MODEL = "data/models/SmolLM2-135M-Instruct.Q4_1.gguf"
_WANTED = 0.95
_ENGINE: dict[str, Any] = {
    "max_model_len": 2048,
    "max_num_seqs": 32,
    "max_num_batched_tokens": 4096,
    "cpu_kv_cache_gib": 1,
}
_TRAINING: dict[str, Any] = {
    "deepspeed": "ddp",  # as configs/smollm.yaml
    "workers": 1,
    "max_length": 512,
    "global_batch": 2,
    "epochs": 1,
    "learning_rate": 3e-5,
    "final_learning_rate": 3e-6,
    "precision": "fp32",
    "adam_betas": (0.9, 0.95),
    **UNDISTURBED,
}


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default=_MODEL)
    parser.add_argument("--pairs", type=int, default=10, help="batches of answers of each side")
    parser.add_argument("--trainings", type=int, default=3, help="trainings of each side")
    parser.add_argument("--rows", type=int, default=96, help="answers of a batch")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--examples", type=int, default=40, help="dialogues to train on")
    parser.add_argument("--only", choices=("generation", "training"))
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    if not Path(arguments.model).is_file():
        raise SystemExit(f"{arguments.model} is not there: run `make smollm` first")
    arguments.model = fetch_model(arguments.model)
    found: dict[str, Any] = {}
    if arguments.only != "training":
        found["generation"] = compare_generation(arguments)
    if arguments.only != "generation":
        found["training"] = compare_training(arguments)
    if arguments.save:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            **found,
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare_generation(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find the best bare arrangement, then run it and the runner in turn; print the ratios."""
    task = Task(arguments.model, arguments.rows, arguments.new_tokens, _ENGINE)
    bindings = _list_bindings()
    tried = {name: _try(task, own) for name, own in bindings.items()}
    best = max(tried, key=tried.__getitem__)
    told = ", ".join(f"{name} {rate:.2f}" for name, rate in tried.items())
    print(f"LLM.generate, rows/s: {told}; the pairs take: {best}", flush=True)
    rounds = [
        {name: round(found["rows_per_s"], 4) for name, found in pair.items()}
        for pair in run_pairs(task, arguments.pairs, bindings[best])
    ]
    return {"tried": tried, "best": best, **_judge("generation", rounds, RUNNER)}


def _try(task: Task, environment: Mapping[str, str]) -> float:
    side = GenerationSide("generate", task, environment)
    try:
        side.measure(0)
        return round(side.measure(1)["rows_per_s"], 4)
    finally:
        side.close()


def compare_training(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train both sides in turn on the same rows, and compare them step by step.

    The figure is the median over the steps of all rounds: a step that something else on the
    machine held up counts no more than another.
    """
    rounds, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = TrainingConfig.model_validate(_TRAINING)
        lay_out_rows(root / DATA, arguments.model, config, train=arguments.examples, validation=2)
        for number in range(arguments.trainings):
            order: tuple[Side, ...] = ("ours", "plain") if number % 2 else ("plain", "ours")
            rates: dict[str, float] = {}
            steps: dict[str, tuple[float, ...]] = {}
            for side in order:
                setup = Setup(side, arguments.model, folder, f"{side}-{number}", _TRAINING)
                figures = train(setup, 1, threads=os.cpu_count() or 1)
                rates[side] = round(figures.rate(figures.tokens), 2)
                steps[side] = figures.step_seconds
            if not steps["ours"] or len(steps["ours"]) != len(steps["plain"]):
                raise SystemExit(f"{steps} seconds: give --examples for more steps, and whole ones")
            own = [
                theirs / ours for ours, theirs in zip(steps["ours"], steps["plain"], strict=True)
            ]
            ratios += own
            rounds.append(rates)
            told = f"median ratio of its steps {statistics.median(own):.3f}"
            print(f"round {number + 1}, tokens/s: {rates}, {told}", flush=True)
    return _tell_median("training", rounds, ratios)


def _list_bindings() -> dict[str, Mapping[str, str]]:
    """Return the arrangements of threads that vLLM offers on this machine."""
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    return {
        "one core left out": {BINDING: "auto"},
        "all cores bound": {BINDING: cores},
        "nothing bound": {BINDING: "nobind"},
    }


def _judge(what: str, rounds: list[dict[str, float]], ours: str) -> dict[str, Any]:
    ratios = [
        found[ours] / max(rate for name, rate in found.items() if name != ours) for found in rounds
    ]
    return _tell_median(what, rounds, ratios)


def _tell_median(what: str, rounds: list[dict[str, float]], ratios: list[float]) -> dict[str, Any]:
    median = statistics.median(ratios)
    told = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(
        f"{what}: median ratio {median:.3f} to the best bare arrangement ({told};"
        f" wanted: at least {_WANTED})",
        flush=True,
    )
    return {"rounds": rounds, "ratios": [round(r, 4) for r in ratios], "median": round(median, 4)}


if __name__ == "__main__":
    main()
