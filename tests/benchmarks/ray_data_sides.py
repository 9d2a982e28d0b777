"""Answers a Parquet file of personas into Parquet files: by the stage runner, or by ray.data.llm.

Both have the same engine arguments, prompts and seeds, and each is a process that starts its own
Ray and engine. Every row says when it was finished, so that the rate can be told without the start.
ray.data.llm runs as it is documented, but for what a machine without GPUs needs: the engine's place
is a CPU, and Ray is told of more CPUs than there are, since on two its stages wait for each other.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import psutil  # type: ignore[import-untyped]

from infra.cluster.local_ray import start_local_ray
from infra.cluster.session import RayConfig
from infra.context import Quiet, RunContext
from infra.engines.config import ModelConfig
from infra.engines.vllm.server import engine_arguments
from infra.generation.runner_config import RunnerConfig
from infra.nodes.row_stages import make_rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import request_seed
from infra.store.manifests import NodeSpec, open_store, read_manifest
from infra.store.storage import Storage
from tests.benchmarks.echo import EchoSampling, TimedEchoMaker

_HERE = "tests.benchmarks.ray_data_sides"
_LOGICAL_CPUS = 8
_BATCH_ROWS = 32
_BLOCK_ROWS = 128
"""Rows that pass from stage to stage at once; a small file would else be one block."""
_WARM_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Task:
    """What a side does: the model's folder, the file of personas, where the answers go."""

    model: str
    source: str
    target: str
    new_tokens: int
    engine: dict[str, Any]

    @property
    def config(self) -> ModelConfig:
        """Return the configuration of the model."""
        return ModelConfig(model=self.model, **self.engine)


def run_stage(task: Task) -> pl.DataFrame:
    """Answer by the stage runner, from the file to its manifest."""
    with RunContext(
        Storage(task.target), {"m": task.config}, RayConfig(), RunnerConfig(), Quiet()
    ) as context:
        open_store(context.storage)
        rows = pl.read_parquet(task.source)
        made = make_rows(
            context,
            NodeSpec.build("bench", 1, identity={}, selection={}),
            model="m",
            maker=TimedEchoMaker(_load_prompt()),
            planned=rows.with_columns(parents_digest="key", group="key"),
            sampling=cast(Any, EchoSampling(max_new_tokens=task.new_tokens)),
        )
        written = time.time()
        parts = read_manifest(context.storage, made.manifest).parts
        rows = pl.concat([pl.read_parquet(context.storage.url(part.path)) for part in parts])
        return rows.with_columns(written=pl.lit(written))


def run_dataset(task: Task) -> pl.DataFrame:
    """Answer by ray.data.llm."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    start_local_ray(ray, num_cpus=_LOGICAL_CPUS, include_dashboard=False, log_to_driver=False)
    engine = engine_arguments(task.config, on_cpu=True)
    config = vLLMEngineProcessorConfig(
        model_source=engine.pop("model"),
        engine_kwargs={name: value for name, value in engine.items() if value is not None},
        batch_size=_BATCH_ROWS,
        concurrency=1,
        placement_group_config={"bundles": [{"CPU": 1}]},
        log_engine_metrics=False,
    )
    prompt, sampling = _load_prompt(), EchoSampling(max_new_tokens=task.new_tokens)

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        messages = prompt.render({"persona": row["persona"]})
        return {
            **row,
            "messages": [{"role": item.role, "content": item.content} for item in messages],
            "sampling_params": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_new_tokens,
                "seed": request_seed(sampling.seed, row["key"], 0, 0),
            },
        }

    def keep(row: dict[str, Any]) -> dict[str, Any]:
        tokens = row["num_generated_tokens"]
        return {
            "key": row["key"],
            "text": row["generated_text"],
            "completion_tokens": tokens,
            "made_at": time.time(),
        }

    process = build_processor(config, preprocess=ask, postprocess=keep)
    blocks = max(1, pl.scan_parquet(task.source).select(pl.len()).collect().item() // _BLOCK_ROWS)
    asked = ray.data.read_parquet(task.source, override_num_blocks=blocks)
    process(asked).write_parquet(task.target)
    written = time.time()
    ray.shutdown()
    return pl.read_parquet(f"{task.target}/*.parquet").with_columns(written=pl.lit(written))


def tell(rows: pl.DataFrame, began: float) -> dict[str, float]:
    """Return the rates with the start and without it, once a tenth of the rows is finished."""
    moments, ended = rows["made_at"].sort(), rows["written"][0]
    warm = max(1, int(rows.height * _WARM_SHARE))
    return {
        "rows": rows.height,
        "new_tokens_per_row": round(rows["completion_tokens"].sum() / rows.height, 1),
        "seconds": round(ended - began, 1),
        "first_row_s": round(moments[0] - began, 1),
        "rows_per_s": round(rows.height / (ended - began), 2),
        "steady_rows_per_s": round((rows.height - warm) / (ended - moments[warm - 1]), 2),
    }


SIDES = {"runner": run_stage, "ray.data.llm": run_dataset}


def main() -> None:
    """Be a side, and print the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("task", type=json.loads, help="model, source, target and so on")
    arguments = parser.parse_args()
    began = psutil.Process().create_time()
    rows = SIDES[arguments.side](Task(**arguments.task))
    print(json.dumps(tell(rows, began)), flush=True)


def _load_prompt() -> PromptTemplate:
    return PromptTemplate.load(Path(require_path("prompts/instruction.j2", "bench")))


if __name__ == "__main__":
    main()
