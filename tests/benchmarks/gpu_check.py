"""Shows what only GPUs show: exact packed attention, training speed with MFU, generation's ratio.

Models have public shapes and random weights, so nothing is downloaded. Three parts, each of which
goes on when another fails:

- *exactness*: the demo's base model is fine-tuned in bf16 on packed rows with the attention that
  ``auto`` takes here; its losses of held-out rows, before and after, must be those of a plain fp32
  forward pass over the same rows.
- *training*: one training a shape, a rank a GPU; tokens/s, MFU, peak memory. Start-up and the
  first step, which compiles, are left out.
- *generation*: the stage runner beside ``LLM.generate`` in alternated pairs, a shape each; weights
  are vLLM's dummies.

    make gpu-check
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from infra.paths import require_path
from tasks.training.config import TrainingConfig
from tasks.training.model.export_checks import measure_loss
from tests.benchmarks.hardware import count_gpus, describe_hardware
from tests.benchmarks.random_models import SHAPES, write_model
from tests.benchmarks.training_rows import DATA, lay_out_rows
from tests.benchmarks.training_sides import UNDISTURBED, Figures, Setup, train

_HERE = "tests.benchmarks.gpu_check"
_LOSS_TOLERANCE = 0.01
_PACKAGES = ("torch", "transformers", "trl", "deepspeed", "flash_attn", "vllm", "ray")
_TRAINING: dict[str, Any] = {
    "max_length": 4096,
    "global_batch": 8,
    "epochs": 1,
    "precision": "bf16",
    **UNDISTURBED,
}
_BY_SHAPE: dict[str, dict[str, Any]] = {
    "8b": {
        "deepspeed": "deepspeed/one_gpu_8b.json",
        "gradient_checkpointing": True,
        "micro_batch_tokens": 4096,
    },
}
"""What a shape needs to fit; an 8 B model with all its states needs a GPU of 140 GB, or several."""
_SMALL = {"deepspeed": "deepspeed/zero1.json"}


class GpuCheck:
    """Is the three parts and what they found."""

    def __init__(self, root: Path, arguments: argparse.Namespace) -> None:
        self._root, self._arguments = root, arguments
        self._found: dict[str, Any] = {}
        self.failed: list[str] = []

    def attempt(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a part and save what is known by then; if it fails, say so and go on."""
        print(f"== {name}", flush=True)
        try:
            self._found[name] = measure()
            print(json.dumps(self._found[name]), flush=True)
        except (Exception, SystemExit):
            traceback.print_exc()
            self.failed.append(name)
        if self._arguments.save:
            self._arguments.save.write_text(self.describe() + "\n", encoding="utf-8")

    def describe(self) -> str:
        """Return what was found, with what it was found on, as JSON."""
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "packages": {name: _find_version(name) for name in _PACKAGES},
            **self._found,
            "failed": self.failed,
        }
        return json.dumps(record, indent=1)

    def check_exactness(self) -> dict[str, Any]:
        """Train the demo's base model and hold its losses against plain fp32 ones."""
        model = str(require_path("demo/base", _HERE))
        knobs = {**_TRAINING, **_SMALL, "max_length": 1024, "learning_rate": 1e-3}
        knobs["export_dtype"] = "float32"
        root = self._lay_out("exactness", model, knobs, rows=512)
        setup = Setup("ours", model, str(root), "run", knobs, validate=True)
        figures = train(setup, count_gpus() or 1)
        rows = root / DATA / "validation.arrow"
        found = {}
        for name, told, folder in zip(
            ("before", "after"), figures.eval_losses, (model, figures.weights), strict=True
        ):
            plain = measure_loss(Path(folder), rows, dtype="float32").loss
            found[name] = {"trained": told, "plain": plain}
            if told is None or not abs(told / plain - 1) <= _LOSS_TOLERANCE:
                raise SystemExit(f"the loss {name} training is not the plain one: {found}")
        return found

    def measure_training(self, shape: str) -> dict[str, Any]:
        """Train a model of this shape for some steps."""
        model = self._root / f"model-{shape}"
        write_model(shape, model, weights=True)
        knobs = {**_TRAINING, **_BY_SHAPE.get(shape, _SMALL), **self._arguments.knobs}
        root = self._lay_out(f"training-{shape}", str(model), knobs, self._arguments.rows)
        ranks = count_gpus() or 1
        figures = train(Setup("ours", str(model), str(root), "run", knobs), ranks)
        return {"ranks": ranks, **_tell(figures)}

    def measure_generation(self, shape: str) -> dict[str, Any]:
        """Compare the runner with LLM.generate on a model of this shape."""
        model = self._root / f"dummy-{shape}"
        write_model(shape, model, weights=False)
        saved = self._root / f"generation-{shape}.json"
        engine = {"engine_args": {"load_format": "dummy"}, "max_model_len": 4096}
        command = [sys.executable, "-m", "tests.benchmarks.generation", "--model", str(model)]
        command += ["--engine", json.dumps(engine), "--save", str(saved)]
        command += ["--pairs", str(self._arguments.pairs), "--rows", str(self._arguments.requests)]
        subprocess.run([*command, "--new-tokens", "128"], check=True)
        found = json.loads(saved.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("rows", "pairs", "median")}

    def _lay_out(self, name: str, model: str, knobs: dict[str, Any], rows: int) -> Path:
        root = self._root / name
        config = TrainingConfig.model_validate(knobs)
        lay_out_rows(root / DATA, model, config, train=rows, validation=rows // 4)
        return root


def main() -> None:
    """Run the parts asked for and print what they found."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {_HERE}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shapes = sorted(SHAPES)
    parser.add_argument("--train", nargs="*", choices=shapes, default=["1b"], metavar="SHAPE")
    parser.add_argument("--generate", nargs="*", choices=shapes, default=["1b"], metavar="SHAPE")
    parser.add_argument("--skip-exactness", action="store_true")
    parser.add_argument("--rows", type=int, default=1500, help="conversations to train on")
    parser.add_argument("--knobs", type=json.loads, default={}, help="training knobs, as JSON")
    parser.add_argument("--requests", type=int, default=4000, help="rows to generate")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--any-device", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not count_gpus() and not arguments.any_device:
        parser.exit(2, "PyTorch sees no GPU here → make gpu-check is for machines with one\n")
    with tempfile.TemporaryDirectory() as root:
        check = GpuCheck(Path(root), arguments)
        if not arguments.skip_exactness:
            check.attempt("exactness", check.check_exactness)
        for shape in arguments.train:
            check.attempt(f"training {shape}", partial(check.measure_training, shape))
        for shape in arguments.generate:
            check.attempt(f"generation {shape}", partial(check.measure_generation, shape))
    print(check.describe())
    if check.failed:
        parser.exit(1, f"failed: {', '.join(check.failed)}\n")


def _tell(figures: Figures) -> dict[str, Any]:
    return {
        "steps": figures.steps,
        "tokens": figures.tokens,
        "tokens_per_s": round(figures.rate(figures.tokens)),
        "trained_per_s": round(figures.rate(figures.trained_tokens)),
        "mfu": None if figures.mfu is None else round(figures.mfu, 4),
        "peak_memory_gib": round(figures.peak_memory_gib or 0, 1),
        "padding_share": round(figures.padding_share, 4),
        "knobs": figures.knobs,
    }


def _find_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
