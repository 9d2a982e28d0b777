"""Is a program: runs a pipeline on a Ray cluster of three local nodes and kills one in mid-stage.

Prints one JSON line: how many nodes held workers, which stage lost one, and the run's result.
"""

from __future__ import annotations

import json
import sys
import threading

from flows.control.display import watch
from flows.pipeline import opencharacter
from infra.context import Listener, RunContext
from infra.progress import Progress, StageProgress
from tests.e2e.local_nodes import local_nodes

STAGE = "characters"


class Saboteur(Listener):
    """Removes a node that holds workers, once, when a third of a stage is done."""

    def __init__(self, cluster: object, nodes: list[object]) -> None:
        self._cluster, self._nodes = cluster, nodes
        self._lock = threading.Lock()
        self.spread: list[str] = []
        self.restarts: list[str] = []

    def run_started(self, name: str, context: RunContext) -> None:
        """Ignore it."""

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Kill one of the two nodes that are not the head."""
        if progress.stage != STAGE or not isinstance(progress, StageProgress):
            return
        with self._lock:
            if self.spread or progress.share < 0.33:
                return
            self.spread = list_worker_nodes()
        node = next(item for item in self._nodes if item.node_id in self.spread)  # type: ignore[attr-defined]
        self._cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]

    def engine_event(self, model: str, text: str) -> None:
        """Keep what was restarted."""
        if "restarting" in text:
            self.restarts.append(text)


def list_worker_nodes() -> list[str]:
    """Return the nodes on which stage workers live, sorted."""
    import ray

    return sorted(
        {
            actor["Address"]["NodeID"]
            for actor in ray._private.state.actors().values()
            if actor["ActorClassName"] == "StageWorker" and actor["State"] == "ALIVE"
        }
    )


def main(config: str) -> None:
    """Start the cluster, run, and tell what came of it."""
    import ray

    with local_nodes(1, [{"num_cpus": 1}] * 2) as (cluster, nodes):
        saboteur = Saboteur(cluster, nodes)
        overrides = [
            f"ray.address={cluster.address}",
            "models.teacher.replicas=3",
            "models.teacher.script={latency_s: 0.2}",
        ]
        with watch(saboteur):
            result = opencharacter(config, overrides)
        told = {
            "nodes": len(saboteur.spread),
            "restarts": saboteur.restarts,
            "result": result.model_dump(),
            "ray_left_running": ray.is_initialized(),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
