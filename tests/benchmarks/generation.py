"""Compares the stage runner with ``LLM.generate`` on the same requests and engine arguments.

Both sides answer the same token-id prompts with the same sampling. Pairs alternate, each side in
a process of its own, engine start left out; the figure is the median of the pairs' ratios. The
runner's side is the whole stage: rendering, tokenising, parsing, Parquet parts and manifest.

    make bench
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from infra.engines.config import ModelConfig
from tests.benchmarks.hardware import count_gpus, describe_hardware

_HERE = "tests.benchmarks.generation"
_ON_CPUS = {"max_num_seqs": 64, "cpu_kv_cache_gib": 0.5}
"""Knobs of the engine for a small machine; on GPUs a model's defaults are measured."""


def main() -> None:
    """Run the pairs and print the ratio."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/teacher")
    parser.add_argument("--rows", type=int, default=2400)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument(
        "--engine", type=json.loads, default={}, help="further knobs of the model, as JSON"
    )
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--side", choices=("runner", "generate"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure = measure_runner if arguments.side == "runner" else measure_generate
        task = Task.read(arguments)
        print(json.dumps(measure(task)))
        return
    pairs, ratios = [], []
    for number in range(arguments.pairs):
        order = ("runner", "generate") if number % 2 else ("generate", "runner")
        found = {side: run_side(side, arguments) for side in order}
        pairs.append(found)
        ratios.append(found["runner"]["rows_per_s"] / found["generate"]["rows_per_s"])
        print(
            f"pair {number + 1}: runner {found['runner']['rows_per_s']:.1f} rows/s, "
            f"LLM.generate {found['generate']['rows_per_s']:.1f} rows/s "
            f"({found['generate']['tokens_per_s']:,.0f} new tokens/s), ratio {ratios[-1]:.3f}",
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
            "pairs": pairs,
            "ratios": [round(ratio, 4) for ratio in ratios],
            "median": round(median, 4),
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Task:
    """Is what both sides do: so many rows of at most so many tokens, on this model."""

    config: ModelConfig
    rows: int
    new_tokens: int

    @classmethod
    def read(cls, arguments: argparse.Namespace) -> Task:
        """Read the command line of a side."""
        given = {**({} if count_gpus() else _ON_CPUS), **arguments.engine}
        config = ModelConfig(model=str(Path(arguments.model).resolve()), **given)
        return cls(config, arguments.rows, arguments.new_tokens)


def measure_generate(task: Task) -> dict[str, float]:
    """Time vLLM's own batch call over all prompts at once."""
    from vllm import LLM, SamplingParams

    from infra.cluster.gpu_memory import read_gpu_gib
    from infra.engines.vllm.sampler import settle_sampler
    from infra.engines.vllm.server import engine_arguments
    from infra.rendering.encoder import load_encoder
    from infra.store.fingerprints import request_seed
    from tests.benchmarks.echo import EchoSampling

    on_cpu = not count_gpus()
    settle_sampler()
    given = engine_arguments(task.config, on_cpu=on_cpu, gpu_gib=read_gpu_gib())
    engine = LLM(**given)
    encoder, prompt = load_encoder(task.config.model), _load_prompt()
    inputs = _make_inputs(task.rows)
    # The runner seeds every row on CPUs, so the same requests carry the same seeds here.
    draws = [
        SamplingParams(
            temperature=EchoSampling.temperature,
            top_p=EchoSampling.top_p,
            max_tokens=task.new_tokens,
            seed=request_seed(EchoSampling.seed, key, 0, 0) if on_cpu else None,
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
    written = sum(len(answer.outputs[0].token_ids) for answer in answers)
    return {
        "rows_per_s": len(answers) / seconds,
        "tokens_per_s": written / seconds,
        "seconds": seconds,
    }


def measure_runner(task: Task) -> dict[str, float]:
    """Time the stage runner on the same rows: from the first lease to the manifest."""
    from infra.cluster.session import RayConfig
    from infra.context import Quiet, RunContext
    from infra.generation.runner_config import RunnerConfig
    from infra.nodes.row_stages import make_rows
    from infra.store.manifests import NodeSpec, open_store
    from infra.store.storage import Storage
    from tests.benchmarks.echo import EchoMaker, EchoSampling

    with (
        tempfile.TemporaryDirectory() as root,
        RunContext(
            Storage(root), {"m": task.config}, RayConfig(), RunnerConfig(), Quiet()
        ) as context,
    ):
        open_store(context.storage)
        context.pool.replicas("m")
        time.sleep(5)  # the worker loads its tokenizer beside the engine; neither side pays for it
        node = NodeSpec.build("bench", 1, identity={}, selection={})
        maker, planned = EchoMaker(_load_prompt()), _make_inputs(task.rows)
        sampling = EchoSampling(max_new_tokens=task.new_tokens)
        began = time.monotonic()
        made = make_rows(context, node, model="m", maker=maker, planned=planned, sampling=sampling)
        seconds = time.monotonic() - began
    return {"rows_per_s": made.accepted / seconds, "seconds": seconds}


def run_side(
    side: str, arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run one side in a process of its own, with variables of its own; return its figures."""
    command = [sys.executable, "-m", _HERE, "--side", side, "--model", arguments.model]
    command += ["--rows", str(arguments.rows), "--new-tokens", str(arguments.new_tokens)]
    command += ["--engine", json.dumps(arguments.engine)]
    own = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    # vLLM's own log may come after the figures on the same stream.
    line = next(line for line in done.stdout.splitlines() if line.startswith('{"rows_per_s"'))
    result: dict[str, Any] = json.loads(line)
    return result


def _make_inputs(rows: int) -> pl.DataFrame:
    from infra.store.fingerprints import content_key

    texts = [
        f"A baker number {n} from Lisbon who loves hiking and has {n} cats" for n in range(rows)
    ]
    keys = [content_key("bench", text) for text in texts]
    return pl.DataFrame({"key": keys, "parents_digest": keys, "group": keys, "persona": texts})


def _load_prompt() -> Any:
    from infra.paths import require_path
    from infra.rendering.prompts import PromptTemplate

    return PromptTemplate.load(require_path("prompts/instruction.j2", "bench"))


if __name__ == "__main__":
    main()
