"""Answers the same requests in two ways: by the stage runner, and by ``LLM.generate``.

Each side is a process that starts its engine once and then answers batches of rows on demand. The
runner's side is the whole stage: rendering, tokenising, parsing, Parquet parts and manifest.
Machines are shared, and how fast they are moves by a tenth from minute to minute: so sides take
turns by seconds, and one that waits is stopped with all its processes and disturbs no other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import psutil  # type: ignore[import-untyped]

from infra.engines.config import ModelConfig
from tests.benchmarks.hardware import count_gpus

_HERE = "tests.benchmarks.generation_sides"
_ON_CPUS = {"max_num_seqs": 64, "cpu_kv_cache_gib": 0.5}
"""Knobs of the engine for a small machine; on GPUs a model's defaults are measured."""

Figures: TypeAlias = dict[str, float]
"""Rows and, where the side knows them, tokens a second; seconds."""

Measure: TypeAlias = Callable[[int], Figures]
"""Answers a batch of rows that is named by its number, and tells how fast."""


@dataclass(frozen=True, slots=True)
class Task:
    """Is what both sides do: batches of so many rows of at most so many tokens, on this model."""

    model: str
    rows: int
    new_tokens: int
    engine: Mapping[str, Any]

    @property
    def config(self) -> ModelConfig:
        """Return the configuration of the model."""
        given = {**({} if count_gpus() else _ON_CPUS), **self.engine}
        return ModelConfig(model=str(Path(self.model).resolve()), **given)


class Side:
    """Handle of a side's process; ``environment`` adds to this one's."""

    def __init__(self, kind: str, task: Task, environment: Mapping[str, str] | None = None) -> None:
        self._kind = kind
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        told = {"kind": kind, "model": task.model, "rows": task.rows}
        told |= {"new_tokens": task.new_tokens, "engine": dict(task.engine)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", _HERE, json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def measure(self, batch: int) -> Figures:
        """Have one batch answered, then stop the side until it is asked again."""
        self._resume()
        try:
            self._send(str(batch))
            assert self._process.stdout is not None
            for line in self._process.stdout:
                # vLLM writes its own log to the same stream.
                if line.startswith('{"rows_per_s"'):
                    found: Figures = json.loads(line)
                    return found
            self._log.seek(0)
            raise SystemExit(f"{self._kind} failed:\n{self._log.read()[-4000:]}")
        finally:
            self._pause()

    def close(self) -> None:
        """End the side in order."""
        self._resume()
        self._send(None)
        self._process.wait()
        self._log.close()

    def _send(self, line: str | None) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: its log says why
            if line is None:
                self._process.stdin.close()
            else:
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()

    def _pause(self) -> None:
        for process in self._list_processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def _resume(self) -> None:
        for process in self._list_processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _list_processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        return []


@contextmanager
def open_generate(task: Task) -> Iterator[Measure]:
    """Open vLLM's own batch call; a batch is one call over all its prompts."""
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

    def measure(batch: int) -> Figures:
        inputs = _make_inputs(task, batch)
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

    yield measure


@contextmanager
def open_runner(task: Task) -> Iterator[Measure]:
    """Open the stage runner; a batch is a stage, from its first lease to its manifest."""
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
        maker = EchoMaker(_load_prompt())
        sampling = EchoSampling(max_new_tokens=task.new_tokens)

        def measure(batch: int) -> Figures:
            node = NodeSpec.build(f"bench_{batch}", 1, identity={}, selection={})
            planned = _make_inputs(task, batch)
            began = time.monotonic()
            made = make_rows(
                context, node, model="m", maker=maker, planned=planned, sampling=sampling
            )
            seconds = time.monotonic() - began
            return {"rows_per_s": made.accepted / seconds, "seconds": seconds}

        yield measure


def main() -> None:
    """Be a side: answer a batch for every number read from standard input."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("task", type=json.loads, help="kind, model, rows, new_tokens and engine")
    told = parser.parse_args().task
    open_side = {"generate": open_generate, "runner": open_runner}[told.pop("kind")]
    with open_side(Task(**told)) as measure:
        for line in sys.stdin:
            print(json.dumps(measure(int(line))), flush=True)


def _make_inputs(task: Task, batch: int) -> pl.DataFrame:
    from infra.store.fingerprints import content_key

    texts = [
        f"A baker number {n} from Lisbon who loves hiking and has {n} cats"
        for n in range(batch * task.rows, (batch + 1) * task.rows)
    ]
    keys = [content_key("bench", text) for text in texts]
    return pl.DataFrame({"key": keys, "parents_digest": keys, "group": keys, "persona": texts})


def _load_prompt() -> Any:
    from infra.paths import require_path
    from infra.rendering.prompts import PromptTemplate

    return PromptTemplate.load(require_path("prompts/instruction.j2", "bench"))


if __name__ == "__main__":
    main()
