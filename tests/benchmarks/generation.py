"""Compares the stage runner with ``LLM.generate`` on the same requests and engine arguments.

Both sides answer the same token-id prompts with the same sampling. Pairs alternate, each side in
a process of its own, engine start left out; the figure is the median of the pairs' ratios. The
runner's side is the whole stage: rendering, tokenising, parsing, Parquet parts and manifest.

    make bench
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

_HERE = "tests.benchmarks.generation"
_NEW_TOKENS = 64
_CONFIG = {"max_num_seqs": 64, "cpu_kv_cache_gib": 0.5}


def main() -> None:
    """Run the pairs and print the ratio."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/teacher")
    parser.add_argument("--rows", type=int, default=2400)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--side", choices=("runner", "generate"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure = measure_runner if arguments.side == "runner" else measure_generate
        print(json.dumps(measure(str(Path(arguments.model).resolve()), arguments.rows)))
        return
    ratios = []
    for number in range(arguments.pairs):
        order = ("runner", "generate") if number % 2 else ("generate", "runner")
        found = {side: _run_side(side, arguments) for side in order}
        ratios.append(found["runner"]["rows_per_s"] / found["generate"]["rows_per_s"])
        print(
            f"pair {number + 1}: runner {found['runner']['rows_per_s']:.1f} rows/s, "
            f"LLM.generate {found['generate']['rows_per_s']:.1f} rows/s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    median = statistics.median(ratios)
    print(f"median ratio {median:.3f} over {len(ratios)} alternated pairs (wanted: at least 0.90)")
    if arguments.save:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "rows": arguments.rows,
            "ratios": [round(ratio, 4) for ratio in ratios],
            "median": round(median, 4),
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def measure_generate(model: str, rows: int) -> dict[str, float]:
    """Time vLLM's own batch call over all prompts at once."""
    from vllm import LLM, SamplingParams

    from infra.engines.config import ModelConfig
    from infra.engines.vllm_server import engine_arguments
    from infra.fingerprints import request_seed
    from infra.rendering import load_encoder
    from tests.benchmarks.echo import EchoSampling

    config = ModelConfig(model=model, **_CONFIG)
    engine = LLM(**engine_arguments(config, on_cpu=True))
    encoder, prompt = load_encoder(model), _load_prompt()
    inputs = _make_inputs(rows)
    # The runner seeds every row on CPUs, so the same requests carry the same seeds here.
    draws = [
        SamplingParams(
            temperature=EchoSampling.temperature,
            top_p=EchoSampling.top_p,
            max_tokens=_NEW_TOKENS,
            seed=request_seed(EchoSampling.seed, key, 0, 0),
        )
        for key in inputs["key"].to_list()
    ]
    ids = [
        {"prompt_token_ids": list(encoder.encode(prompt.render({"persona": text})))}
        for text in inputs["persona"].to_list()
    ]
    began = time.monotonic()
    answers = engine.generate(ids, draws, use_tqdm=False)
    seconds = time.monotonic() - began
    return {"rows_per_s": len(answers) / seconds, "seconds": seconds}


def measure_runner(model: str, rows: int) -> dict[str, float]:
    """Time the stage runner on the same rows: from the first lease to the manifest."""
    from infra.bench import Bench, Listener
    from infra.cluster import RayConfig
    from infra.engines.config import ModelConfig
    from infra.manifests import NodeSpec, open_store
    from infra.progress import Progress
    from infra.row_stage import RunnerConfig
    from infra.stage_runner import run_row_stage
    from infra.storage import Storage
    from tests.benchmarks.echo import EchoMaker, EchoSampling

    class Quiet(Listener):
        def stage_progress(self, progress: Progress, *, finished: bool) -> None:
            """Ignore it."""

        def engine_event(self, model: str, text: str) -> None:
            """Ignore it."""

    config = ModelConfig(model=model, **_CONFIG)
    with (
        tempfile.TemporaryDirectory() as root,
        Bench(Storage(root), {"m": config}, RayConfig(), RunnerConfig(), Quiet()) as bench,
    ):
        open_store(bench.storage)
        bench.pool.replicas("m")
        time.sleep(5)  # the worker loads its tokenizer beside the engine; neither side pays for it
        node = NodeSpec.build("bench", 1, identity={}, selection={})
        stage = bench.row_stage(
            node,
            model="m",
            maker=EchoMaker(_load_prompt()),
            planned=_make_inputs(rows),
            sampling=EchoSampling(max_new_tokens=_NEW_TOKENS),
        )
        began = time.monotonic()
        made = run_row_stage(stage, bench.runner_context())
        seconds = time.monotonic() - began
    return {"rows_per_s": made.accepted / seconds, "seconds": seconds}


def _run_side(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", _HERE, "--side", side, "--model", arguments.model]
    done = subprocess.run(
        [*command, "--rows", str(arguments.rows)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    # vLLM's own log may come after the figures on the same stream.
    line = next(line for line in done.stdout.splitlines() if line.startswith('{"rows_per_s"'))
    result: dict[str, Any] = json.loads(line)
    return result


def _make_inputs(rows: int) -> pl.DataFrame:
    from infra.fingerprints import content_key

    texts = [
        f"A baker number {n} from Lisbon who loves hiking and has {n} cats" for n in range(rows)
    ]
    keys = [content_key("bench", text) for text in texts]
    return pl.DataFrame({"key": keys, "parents_digest": keys, "group": keys, "persona": texts})


def _load_prompt() -> Any:
    from infra.paths import require_path
    from infra.prompts import PromptTemplate

    return PromptTemplate.load(require_path("prompts/instruction.j2", "bench"))


def describe_hardware() -> str:
    """Return what this machine computes with, as figures are kept with it."""
    import os
    import platform

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
