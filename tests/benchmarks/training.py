"""Compares our training with TRL's defaults on the same rows, tokens, steps and learning rates.

Ours is what a rank under Ray Train does: packed token files, DeepSpeed, the knobs of the demo but
for those printed. The other side is a plain ``SFTTrainer``: messages in, and all as TRL has it but
for the few arguments that make it learn the same thing. Both run on a rank a GPU, or else on two
gloo ranks of one thread. Pairs alternate, each with a seed of its own, start-up left out. One
function measures the held-out loss of both, on the weights that they saved.

    make bench
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from infra.engines.cpu_threads import choose_cpu_dtype
from infra.paths import require_path
from tasks.training.config import TrainingConfig
from tasks.training.model.export_checks import measure_loss
from tests.benchmarks.hardware import count_gpus, describe_hardware
from tests.benchmarks.training_rows import DATA, lay_out_rows
from tests.benchmarks.training_sides import UNDISTURBED, Figures, Setup, Side, train

_HERE = "tests.benchmarks.training"
_CPU_RANKS = 2
_TRL_BATCH = 8
"""Examples that a rank's step of TRL's default learns from."""
_LEARNING_RATE = 1e-3

_OURS: dict[str, Any] = {
    "max_length": 496,
    "global_batch": 8,
}
"""What is ours to choose, and differs from the demo's file; precision follows from the machine."""
_EQUAL: dict[str, Any] = {
    "learning_rate": _LEARNING_RATE,
    "warmup_share": 0.0,
    "adam_betas": (0.9, 0.999),
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
"""Defaults of TRL that we take over, so that both sides learn alike."""
_NEEDED: dict[str, Any] = {
    "learning_rate": _LEARNING_RATE,
    "assistant_only_loss": True,
    "report_to": "none",
}
"""What TRL is told besides epochs and seed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Is what one side of one pair gave."""

    figures: Figures
    loss: float

    @property
    def trained_per_s(self) -> float:
        """Return the tokens with loss per second of training."""
        return self.figures.rate(self.figures.trained_tokens)


@dataclass(frozen=True, slots=True)
class Pair:
    """Is both sides with the same seed."""

    seed: int
    ours: Outcome
    trl: Outcome

    @property
    def ratio(self) -> float:
        """Return our trained tokens per second over TRL's."""
        return self.ours.trained_per_s / self.trl.trained_per_s

    @property
    def loss_difference(self) -> float:
        """Return how far our held-out loss is from TRL's, as a share of that."""
        return self.ours.loss / self.trl.loss - 1


def main() -> None:
    """Run the pairs and print the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/base")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--ours", action="append", default=[], help="our knob, as name=value")
    parser.add_argument("--trl", action="append", default=[], help="an SFTConfig value, likewise")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        bench = TrainingBench(Path(root), arguments)
        pairs = [bench.run_pair(seed) for seed in range(arguments.pairs)]
        before = bench.measure(Path(bench.model))
    _print_table(pairs, before)
    if arguments.save:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "rows": arguments.rows,
            "epochs": arguments.epochs,
            "differs": _compare_knobs(pairs[0]),
            "loss_before": round(before, 4),
            "pairs": [_record_pair(pair) for pair in pairs],
            "median": round(statistics.median(pair.ratio for pair in pairs), 4),
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class TrainingBench:
    """Is the rows of one run, laid out once, and the two sides that train on them."""

    def __init__(self, root: Path, arguments: argparse.Namespace) -> None:
        self._root = root
        self.model = str(Path(arguments.model).resolve())
        self._ranks = count_gpus() or _CPU_RANKS
        steps = -(-arguments.rows // (_TRL_BATCH * self._ranks)) * arguments.epochs
        demo = yaml.safe_load(require_path("demo.yaml", "bench").read_text(encoding="utf-8"))
        self._knobs: dict[Side, dict[str, Any]] = {
            "ours": {
                **demo["training"], **_OURS, **_EQUAL, **UNDISTURBED,
                "export_dtype": "float32",
                "precision": choose_precision(),
                "epochs": arguments.epochs,
                # The linear schedule of transformers: what is left of the peak at the last step.
                "final_learning_rate": _LEARNING_RATE / steps,
                **_parse_knobs(arguments.ours),
            },
            "trl": {
                **_NEEDED,
                "use_cpu": not count_gpus(),  # its bf16 asks for it
                "num_train_epochs": arguments.epochs,
                **_parse_knobs(arguments.trl),
            },
        }  # fmt: skip
        config = TrainingConfig.model_validate(self._knobs["ours"])
        lay_out_rows(
            root / DATA, self.model, config, train=arguments.rows, validation=arguments.rows // 2
        )

    def run_pair(self, seed: int) -> Pair:
        """Train both sides, in an order that alternates."""
        order: tuple[Side, ...] = ("ours", "trl") if seed % 2 else ("trl", "ours")
        found = {side: self._train(side, seed) for side in order}
        pair = Pair(seed, found["ours"], found["trl"])
        mine, theirs = pair.ours.figures, pair.trl.figures
        for name in ("steps", "tokens", "trained_tokens"):
            if getattr(mine, name) != getattr(theirs, name):
                print(f"differs: {name} {getattr(mine, name)}, TRL {getattr(theirs, name)}")
        print(
            f"pair {seed + 1}: ours {pair.ours.trained_per_s:.0f} trained tokens/s, held-out loss"
            f" {pair.ours.loss:.4f}; TRL {pair.trl.trained_per_s:.0f}, {pair.trl.loss:.4f}; ratio"
            f" {pair.ratio:.3f}, loss {pair.loss_difference:+.2%}",
            flush=True,
        )
        return pair

    def measure(self, weights: Path) -> float:
        """Return the held-out loss of a model folder, in fp32."""
        return measure_loss(weights, self._root / DATA / "validation.arrow", dtype="float32").loss

    def _train(self, side: Side, seed: int) -> Outcome:
        folder = f"{side}-{seed}"
        knobs = {**self._knobs[side], "seed": seed}
        figures = train(Setup(side, self.model, str(self._root), folder, knobs), self._ranks)
        return Outcome(figures, self.measure(Path(figures.weights)))


def choose_precision() -> str:
    """Return what a user of this machine would choose: bf16, or fp32 where bf16 is emulated."""
    return "bf16" if count_gpus() or choose_cpu_dtype() != "float32" else "fp32"


def _parse_knobs(given: Sequence[str]) -> dict[str, Any]:
    pairs = (text.partition("=") for text in given)
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def _compare_knobs(pair: Pair) -> dict[str, list[Any]]:
    mine, theirs = pair.ours.figures.knobs, pair.trl.figures.knobs
    return {name: [mine[name], theirs[name]] for name in mine if mine[name] != theirs[name]}


def _record_pair(pair: Pair) -> dict[str, Any]:
    sides: Mapping[str, Outcome] = {"ours": pair.ours, "trl": pair.trl}
    return {
        "seed": pair.seed,
        **{
            side: {
                "steps": found.figures.steps,
                "tokens": found.figures.tokens,
                "trained_tokens": found.figures.trained_tokens,
                "tokens_per_s": round(found.figures.rate(found.figures.tokens), 1),
                "trained_per_s": round(found.trained_per_s, 1),
                "padding_share": round(found.figures.padding_share, 4),
                "seconds": round(found.figures.seconds, 2),
                "loss": round(found.loss, 5),
            }
            for side, found in sides.items()
        },
        "ratio": round(pair.ratio, 4),
        "loss_difference": round(pair.loss_difference, 5),
    }


def _print_table(pairs: Sequence[Pair], before: float) -> None:
    sides = [[pair.ours for pair in pairs], [pair.trl for pair in pairs]]

    def show(name: str, values: Sequence[Any]) -> None:
        print(f"{name:<28}" + "".join(f"{value!s:>26}" for value in values))

    def middle(numbers: Sequence[float]) -> float:
        return statistics.median(numbers)

    show("", ["ours", "TRL's defaults"])
    for name, (mine, theirs) in _compare_knobs(pairs[0]).items():
        show(name, [mine, theirs])
    rates = [middle([one.figures.rate(one.figures.tokens) for one in side]) for side in sides]
    show("tokens/s", [f"{rate:.0f}" for rate in rates])
    show("trained tokens/s", [f"{middle([one.trained_per_s for one in s]):.0f}" for s in sides])
    show("padding", [f"{middle([one.figures.padding_share for one in s]):.1%}" for s in sides])
    show("steps", [side[0].figures.steps for side in sides])
    losses = [[one.loss for one in side] for side in sides]
    show(f"held-out loss, was {before:.3f}", [f"{middle(side):.4f}" for side in losses])
    show("  over seeds", [f"{min(side):.4f} to {max(side):.4f}" for side in losses])
    ratio = middle([pair.ratio for pair in pairs])
    difference = middle([pair.loss_difference for pair in pairs])
    print(f"median ratio {ratio:.3f} over {len(pairs)} alternated pairs (wanted: at least 1.30)")
    print(f"median difference of the held-out losses {difference:+.2%} (wanted: within 1 %)")


if __name__ == "__main__":
    main()
