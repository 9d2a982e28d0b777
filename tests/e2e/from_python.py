"""Is a program: calls the pipeline as people do from Python, in a folder that is not the project's.

Twice in one process, then as a subflow of a flow of its own, on a Ray that was there before and
stays. Prints one JSON line with what each run came to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from prefect import flow

from flows.pipeline import opencharacter
from flows.runs.closing import RunResult

SCRIPTED = (
    "models={teacher: {engine: scripted, model: script}}",
    "personas.sample=12",
    "personas.near_duplicate_similarity=null",
    "instructions.limit=6",
    "instructions.synthesis={count: 2, language: null}",
    "characters.language=null",
    "curation={language: null, near_duplicate_similarity: null}",
    "training=null",
    "evaluation=null",
)


@flow(name="mine")
def mine(root: str) -> RunResult:
    """Do something before and after, as people's own flows do."""
    return opencharacter("configs/demo.yaml", [*SCRIPTED, f"storage.root={root}"])


def main(root: str) -> None:
    """Run it three times and tell what came of it."""
    first = opencharacter("configs/demo.yaml", [*SCRIPTED, f"storage.root={root}"])
    started_by_us = ray.is_initialized()
    again = opencharacter("configs/demo.yaml", [*SCRIPTED, f"storage.root={root}"])

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    before = ray.get_runtime_context().get_job_id()
    inside = mine(f"{root}-inside")
    kept = ray.is_initialized() and ray.get_runtime_context().get_job_id() == before
    ray.shutdown()
    told = {
        "cwd": str(Path.cwd()),
        "first": first.model_dump(),
        "again": again.model_dump(),
        "inside": inside.model_dump(),
        "ray_ended_after_own_runs": not started_by_us,
        "foreign_ray_kept": kept,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
