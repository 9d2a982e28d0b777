"""Does one piece of work on a store of the paper's size, and says what time and memory it took.

It runs as a script of its own, so that memory is its own, and so that the code of another checkout
can be measured by the same words: whatever comes first on ``PYTHONPATH`` is at work.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import polars as pl

from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context, resolve
from infra.context import Quiet
from infra.generation.row_stage import RowStage, RunnerContext
from infra.generation.runner_config import RunnerConfig
from infra.generation.stage_runner import run_row_stage
from infra.nodes.node import Node, RowNode
from infra.nodes.rows import StoredRows
from infra.store.manifests import NodeSpec, read_manifest
from infra.store.storage import Storage

EACH_QUESTION = 3
"""Characters that answer a question, as in the paper (section 4.1)."""

_JUDGE = (
    "{model: teacher, prompt: prompts/demo/judge.j2, rubrics: demo/rubric.json, structured: false,"
    " examples: null}"
)
_CONFIG = "configs/demo.yaml"
_VOLATILE = {"provenance", "usage", "facts"}


def list_overrides(folder: str) -> list[str]:
    """Return what a run in this store sets: one strategy, two models, one judge."""
    return [
        f"storage.root={folder}",
        "dialogues.rewrite=null",
        f"dialogues.characters_per_question={EACH_QUESTION}",
        "instructions.synthesis.count=0",
        "training.max_length=2048",
        f"evaluation.judges=[{_JUDGE}]",
        "evaluation.attribution=null",
        f"personas.source={folder}/personas.jsonl",
    ]


@contextmanager
def open_graph(folder: str, *overrides: str) -> Iterator[Graph]:
    """Open the graph of a run in a store; its file of personas is there, if only an empty one."""
    Path(folder, "personas.jsonl").touch()
    settings = resolve(_CONFIG, [*list_overrides(folder), *overrides])
    with open_context(settings, Quiet()) as context:
        yield build_graph(settings, context)


def end_stage(storage: Storage, node: NodeSpec, planned: pl.DataFrame) -> None:
    """End a stage of which every row is committed, as a run does: no engine is asked."""
    stage = RowStage(
        node=node,
        model="teacher",
        maker=cast(Any, None),
        planned=planned,
        options=cast(Any, None),
        min_yield=0.0,
        encoder=None,
    )
    context = RunnerContext(
        storage=storage,
        pool=cast(Any, None),
        listener=Quiet(),
        config=RunnerConfig(),
        stop=threading.Event(),
        provenance=dict,
    )
    run_row_stage(stage, context)


def plan(folder: str, timer: Timer) -> str:
    """Plan the dialogues: who answers what, with all that a prompt shows."""
    with open_graph(folder) as graph, timer:
        node = cast(RowNode, graph["dialogues_generate"])
        planned = node.plan(StoredRows(node.context.storage))
    return digest_frames(planned)


def curate(folder: str, timer: Timer) -> str:
    """Turn dialogues into examples."""
    # Another seed, so that the examples that lie in the store stay.
    with open_graph(folder, "curation.seed=1") as graph:
        return make(graph["curation"], timer)


def export(folder: str, timer: Timer) -> str:
    """Write the data set."""
    with open_graph(folder) as graph:
        node = graph["export"]
        with timer:
            reference = node.make()
        manifest = read_manifest(node.context.storage, reference.manifest)
        files = [part for part in manifest.parts if not part.path.endswith(".parquet")]
        tables = [part for part in manifest.parts if part.path.endswith(".parquet")]
        read = (pl.read_parquet(node.context.storage.url(part.path)) for part in tables)
        return digest_frames(*read, more=[part.digest for part in files])


def show(folder: str, timer: Timer) -> str:
    """Show five dialogues: the whole command, from its start."""
    Path(folder, "personas.jsonl").touch()
    command = [sys.executable, "-m", "flows.cli", "show", _CONFIG, "dialogues", "-n", "5"]
    for override in list_overrides(folder):
        command += ["--set", override]
    with timer:
        done = subprocess.run(command, check=True, capture_output=True)
    return hashlib.blake2b(done.stdout, digest_size=8).hexdigest()


def stage_end(folder: str, timer: Timer) -> str:
    """End a stage of which nine rows in ten are asked for."""
    planned = pl.read_parquet(f"{folder}/planned.parquet")
    with open_graph(folder) as graph:
        node = graph["dialogues_generate"]
        with timer:
            end_stage(node.context.storage, node.spec, planned)
        found = node.manifest
        plain = found.model_dump(mode="json", exclude=_VOLATILE)
        usage = found.usage.model_dump(exclude={"seconds"})
        for part in (*plain["parts"], plain["members"]):
            del part["token"]
        return hashlib.blake2b(
            json.dumps([plain, usage], sort_keys=True).encode(), digest_size=8
        ).hexdigest()


def scores(folder: str, timer: Timer) -> str:
    """Measure and compare two models."""
    with open_graph(folder) as graph:
        return make(graph["scores"], timer)


def tokens(folder: str, timer: Timer) -> str:
    """Render, tokenise and pack the examples."""
    with open_graph(folder) as graph:
        node = graph["encoding"]
        with timer:
            reference = node.make()
        manifest = read_manifest(node.context.storage, reference.manifest)
        digests = [part.digest for part in manifest.parts if part.path.endswith(".arrow")]
        return hashlib.blake2b(json.dumps(digests).encode(), digest_size=8).hexdigest()


def personas(folder: str, timer: Timer) -> str:
    """Read, clean and sample personas."""
    with open_graph(folder) as graph:
        return make(graph["personas"], timer)


def personas_any_language(folder: str, timer: Timer) -> str:
    """Read, clean and sample personas, their language left alone."""
    with open_graph(folder, "personas.language=null") as graph:
        return make(graph["personas"], timer)


WORK: dict[str, Callable[[str, Timer], str]] = {
    work.__name__.replace("_", "-"): work
    for work in (
        plan, curate, export, show, stage_end, scores, tokens, personas, personas_any_language,
    )
}  # fmt: skip


class Timer:
    """Clock of the work alone: what opens the store before it and reads it after does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.peak_mib = 0

    def __enter__(self) -> None:
        self._began, self._worked = time.monotonic(), _count_cpu_seconds()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self.cpu_s = _count_cpu_seconds() - self._worked
        # Not of getrusage: there the memory of who started this process counts, too.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        own = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.peak_mib = max(int(own.split()[1]), others) >> 10


def _count_cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def make(node: Node, timer: Timer) -> str:
    """Make a node and return the digest of its tables."""
    with timer:
        reference = node.make()
    storage = node.context.storage
    manifest = read_manifest(storage, reference.manifest)
    tables = (pl.read_parquet(storage.url(part.path)) for part in manifest.parts)
    return digest_frames(*tables)


def digest_frames(*frames: pl.DataFrame, more: Any = ()) -> str:
    """Return a digest of rows in their order; of one Polars, it is always the same."""
    digest = hashlib.blake2b(json.dumps(more).encode(), digest_size=8)
    for frame in frames:
        digest.update(json.dumps([frame.columns, list(map(str, frame.dtypes))]).encode())
        digest.update(frame.select(pl.struct(pl.all()).hash()).to_series().to_numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    clock = Timer()
    outcome = WORK[sys.argv[1]](sys.argv[2], clock)
    told = {
        "seconds": round(clock.seconds, 2),
        "cpu_s": round(clock.cpu_s, 2),
        "peak_mib": clock.peak_mib,
        "digest": outcome,
    }
    print(json.dumps(told))
