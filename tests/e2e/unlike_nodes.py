"""Is a program: runs a pipeline on a Ray cluster whose second node does not share the store.

Then a third node freezes. Prints one JSON line: what was told of both, how long that took, what had
been started by then, what logs the nodes gave, and what is left at the root.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from flows.control.display import watch
from flows.pipeline import opencharacter
from infra.cluster.devices import list_offers
from infra.cluster.node_checks import Question
from infra.cluster.node_logs import fetch_logs
from infra.cluster.probe import check_nodes
from infra.errors import ConfigError
from infra.store.storage import Storage
from tests.e2e.local_nodes import local_nodes
from tests.e2e.scripted import Silent

_PATIENCE_S = 10.0
_LOG_PATIENCE_S = 5.0


class Ear(Silent):
    """Remembers what engines do."""

    def __init__(self) -> None:
        self.engines: list[str] = []

    def engine_event(self, model: str, text: str) -> None:
        """Remember it."""
        self.engines.append(f"{model}: {text}")


def refuse(call: Any, *given: Any, **named: Any) -> dict[str, Any]:
    """Return the problems for which a call is refused, and how long that took."""
    began = time.monotonic()
    try:
        call(*given, **named)
    except ConfigError as error:
        problems = [[problem.where, problem.what, problem.todo] for problem in error.problems]
        return {"problems": problems, "seconds": time.monotonic() - began}
    return {"problems": [], "seconds": time.monotonic() - began}


def list_actors() -> list[str]:
    """Return the classes of all actors that the cluster ever had, the dead ones too."""
    import ray

    actors = ray._private.state.actors().values()
    return sorted(actor["ActorClassName"] for actor in actors)


def main(given: str) -> None:
    """Start the cluster, run, freeze a node, ask again, and tell what came of it."""
    import ray

    config, root = json.loads(given)
    apart = {"num_cpus": 1, "hidden": root}
    with local_nodes(1, [apart, {"num_cpus": 1}]) as (cluster, nodes):
        ear = Ear()
        with watch(ear):
            run = refuse(opencharacter, config, [f"ray.address={cluster.address}"])
        ray.init(address=cluster.address, log_to_driver=False)
        started = list_actors()
        offers, question = list_offers(ray), Question(Storage(root), {}, {})
        sharing = [offer for offer in offers if offer.node != nodes[0].node_id]
        sound = refuse(check_nodes, ray, sharing, question, print)
        (raylet,) = nodes[1].all_processes["raylet"]
        psutil.Process(raylet.process.pid).suspend()
        try:
            logs = fetch_logs(cluster.address, 0.0, time.time(), _LOG_PATIENCE_S)
            frozen = refuse(check_nodes, ray, offers, question, print, timeout_s=_PATIENCE_S)
        finally:
            psutil.Process(raylet.process.pid).resume()
    told = {
        "apart": nodes[0].node_id[:8],
        "still": nodes[1].node_id[:8],
        "run": run,
        "engines": ear.engines,
        "actors": started,
        "sound": sound,
        "frozen": frozen,
        "logs": {item.node[:8]: item.failure or len(item.texts) for item in logs},
        "left": [path.name for path in Path(root).glob(".probe-*")],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
