"""Compares us with bare vLLM and bare PyTorch on a real language model of 135 M, on CPUs.

Generation: the stage runner as users have it, against ``LLM.generate`` on the same requests in
the best arrangement of threads that vLLM offers, found first; the figure is our rate over its.
Training: a rank as users have it, against a plain PyTorch loop over the same packed rows in fp32.
Pairs alternate, every side in a process of its own, start-up left out.

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
from tests.benchmarks.generation import run_side
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
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=160, help="answers to generate")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--examples", type=int, default=40, help="dialogues to train on")
    parser.add_argument("--only", choices=("generation", "training"))
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    if not Path(arguments.model).is_file():
        raise SystemExit(f"{arguments.model} is not there: run `make smollm` first")
    arguments.model, arguments.engine = fetch_model(arguments.model), _ENGINE
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
    bindings = _list_bindings()
    tried = {name: _rate("generate", arguments, own) for name, own in bindings.items()}
    best = max(tried, key=tried.__getitem__)
    told = ", ".join(f"{name} {rate:.2f}" for name, rate in tried.items())
    print(f"LLM.generate, rows/s: {told}; the pairs take: {best}", flush=True)
    rounds = []
    for number in range(arguments.pairs):
        sides = {"runner": ("runner", {}), best: ("generate", bindings[best])}
        order = list(sides) if number % 2 else list(reversed(sides))
        rates = {name: _rate(sides[name][0], arguments, sides[name][1]) for name in order}
        rounds.append({name: rates[name] for name in sides})
        told = ", ".join(f"{name} {rates[name]:.2f}" for name in sides)
        print(f"pair {number + 1}, rows/s: {told}", flush=True)
    return {"tried": tried, **_judge("generation", rounds, "runner")}


def _rate(side: str, arguments: argparse.Namespace, own: Mapping[str, str]) -> float:
    return round(float(run_side(side, arguments, own)["rows_per_s"]), 4)


def compare_training(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train both sides in turn; print and return the ratios."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = TrainingConfig.model_validate(_TRAINING)
        lay_out_rows(root / DATA, arguments.model, config, train=arguments.examples, validation=2)
        for number in range(arguments.pairs):
            order: tuple[Side, ...] = ("ours", "plain") if number % 2 else ("plain", "ours")
            rates: dict[str, float] = {}
            for side in order:
                setup = Setup(side, arguments.model, folder, f"{side}-{number}", _TRAINING)
                figures = train(setup, 1, threads=os.cpu_count() or 1)
                rates[side] = round(figures.rate(figures.tokens), 2)
            rounds.append(rates)
            print(f"round {number + 1}, tokens/s: {rates}", flush=True)
    return _judge("training", rounds, "ours")


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
