"""Lets many runs wait for one server, of which one at a time may work, and looks what came out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.prefect_world import deploy, run_postgres, run_server, run_worker
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld, read_parts

_LONGEST_S = 300.0
"""How long a run may take once it is its turn."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Outcome of the runs: how many completed, in what time, and what they left."""

    runs: int
    completed: int
    seconds: float
    rows: int
    twice: int


def queue_runs(folder: Path, count: int) -> Queued:
    """Start ``count`` runs of one store at once, each of a few personas more; wait for all."""
    world = ScriptedWorld.make(folder / "world", personas=4 * count)
    home = folder / "prefect"
    home.mkdir()
    began = time.monotonic()
    with run_postgres() as postgres, run_server(postgres, home) as server:
        deploy(server, "--name", "pipeline")
        with run_worker(server, home):
            started = []
            for number in range(1, count + 1):
                recipe = {
                    "config": str(world.config),
                    "name": f"queued-{number}",
                    "overrides": [f"personas.sample={4 * number}"],
                }
                form = {"recipe": recipe, "until": "report"}
                started.append(server.start("pipeline", form).raise_for_status().json()["id"])
            ended = [server.await_end(run, _LONGEST_S * count) for run in started]
            for run, end in zip(started, ended, strict=True):
                if end["state_type"] != "COMPLETED":
                    print(f"{end['name']}: {end['state_type']}\n{server.read_log(run)}")
    rows = [read_parts(world.root, stage)["key"] for stage in ROW_STAGES]
    return Queued(
        runs=count,
        completed=sum(end["state_type"] == "COMPLETED" for end in ended),
        seconds=round(time.monotonic() - began, 1),
        rows=sum(map(len, rows)),
        twice=sum(len(keys) - keys.n_unique() for keys in rows),
    )
