"""Runs stages of rows on an engine that takes no time, or always the same, and says what they cost.

It is a script of its own, so that the code of another checkout can be measured by the same words:
whatever comes first on ``PYTHONPATH`` is at work. The engine's answers come from :func:`answer`,
which workers import from this file as a module of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import polars as pl
import psutil  # type: ignore[import-untyped]

from infra.cluster.session import RayConfig
from infra.context import Quiet, RunContext
from infra.engines.config import ModelConfig
from infra.generation.runner_config import RunnerConfig
from infra.nodes.row_stages import make_rows
from infra.paths import require_path
from infra.protocol import Request
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key
from infra.store.manifests import NodeRef, NodeSpec, open_store, read_manifest
from infra.store.storage import Storage
from tests.benchmarks.echo import EchoMaker, EchoSampling

_ANSWER = " ".join(["The old sailor counts the quiet harbour's lights twice a night."] * 6)
_WARM_ROWS = 512
_WORDS = 128


def answer(request: Request) -> str:
    """Answer any request with the same 66 words; the scripted engine's responder."""
    return _ANSWER


def run_stages(rows: int, workers: int, window: int, latency_s: float) -> dict[str, Any]:
    """Make a stage of rows after a small one, and return rates, CPU seconds and a digest."""
    script = {"latency_s": latency_s, "respond": f"{Path(__file__).stem}.answer"}
    model = ModelConfig(
        engine="scripted", model="m", script=script, replicas=workers, max_concurrency=window
    )
    with (
        tempfile.TemporaryDirectory() as root,
        RunContext(Storage(root), {"m": model}, RayConfig(), RunnerConfig(), Quiet()) as context,
    ):
        open_store(context.storage)
        _run_stage(context, "warm", max(_WARM_ROWS, 4 * window * workers))
        before = _list_cpu_seconds()
        began = time.monotonic()
        made = _run_stage(context, "made", rows)
        seconds = time.monotonic() - began
        spent = _list_cpu_seconds()
        manifest = read_manifest(context.storage, made.manifest)
        frames = [pl.read_parquet(context.storage.url(part.path)) for part in manifest.parts]
        assert made.accepted == rows
        return {
            "rows_per_s": round(rows / seconds, 1),
            "first_to_last_row_s": round(manifest.usage.seconds, 3),
            "seconds": round(seconds, 3),
            "cpu_us_per_row": {
                name: round((spent[name] - before.get(name, 0.0)) / rows * 1e6, 1) for name in spent
            },
            "digest": _digest(pl.concat(frames).sort("key")),
        }


def _run_stage(context: RunContext, name: str, rows: int) -> NodeRef:
    node = NodeSpec.build(f"bench_{name}", 1, identity={}, selection={})
    maker = EchoMaker(PromptTemplate.load(require_path("prompts/instruction.j2", "bench")))
    texts = [f"A baker number {n} from Lisbon who loves hiking, with {n} cats" for n in range(rows)]
    keys = [content_key(name, text) for text in texts]
    planned = pl.DataFrame({"key": keys, "parents_digest": keys, "group": keys, "persona": texts})
    sampling = cast(Any, EchoSampling(max_new_tokens=_WORDS))
    return make_rows(context, node, model="m", maker=maker, planned=planned, sampling=sampling)


def _list_cpu_seconds() -> dict[str, float]:
    """Return what the driver, the workers and Ray's own processes have computed so far."""
    found = {"driver": time.process_time(), "workers": 0.0, "ray": 0.0}
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            used, title = process.cpu_times(), " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        found["workers" if "StageWorker" in title else "ray"] += used.user + used.system
    return found


def _digest(rows: pl.DataFrame) -> str:
    return hashlib.blake2b(rows.write_ndjson().encode(), digest_size=8).hexdigest()


if __name__ == "__main__":
    print(json.dumps(run_stages(**json.loads(sys.argv[1]))), flush=True)
