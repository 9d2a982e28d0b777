"""Is a program: asks the nodes of a Ray cluster, of which one does not share the store.

Then another one freezes. Prints one JSON line: what was told of both, how long that took, what logs
the nodes gave, and what is left at the root.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.cluster.devices import list_offers
from infra.cluster.node_checks import Question
from infra.cluster.node_logs import Asked, fetch_logs
from infra.cluster.probe import check_nodes
from infra.errors import ConfigError
from infra.store.storage import Storage
from tests.e2e.local_nodes import local_nodes

_PATIENCE_S = 10.0
_LOG_PATIENCE_S = 5.0


def refuse(call: Any, *given: Any, **named: Any) -> dict[str, Any]:
    """Return the problems for which a call is refused, and how long that took."""
    began = time.monotonic()
    try:
        call(*given, **named)
    except ConfigError as error:
        problems = [[problem.where, problem.what, problem.todo] for problem in error.problems]
        return {"problems": problems, "seconds": time.monotonic() - began}
    return {"problems": [], "seconds": time.monotonic() - began}


def main(root: str) -> None:
    """Start the cluster, ask, freeze a node, ask again, and tell what came of it."""
    import ray

    began = time.time()
    apart = {"num_cpus": 1, "hidden": root}
    with local_nodes(1, [apart, {"num_cpus": 1}]) as (cluster, nodes):
        ray.init(address=cluster.address, log_to_driver=False)
        offers, question = list_offers(ray), Question(Storage(root), {}, {})
        asked = refuse(check_nodes, ray, offers, question, print)
        sharing = [offer for offer in offers if offer.node != nodes[0].node_id]
        sound = refuse(check_nodes, ray, sharing, question, print)
        (raylet,) = nodes[1].all_processes["raylet"]
        psutil.Process(raylet.process.pid).suspend()
        try:
            run = Asked(platform.node(), os.getpid(), began, time.time())
            logs = fetch_logs(cluster.address, run, _LOG_PATIENCE_S)
            frozen = refuse(check_nodes, ray, offers, question, print, timeout_s=_PATIENCE_S)
        finally:
            psutil.Process(raylet.process.pid).resume()
    told = {
        "apart": nodes[0].node_id[:8],
        "still": nodes[1].node_id[:8],
        "asked": asked,
        "sound": sound,
        "frozen": frozen,
        "logs": {item.node[:8]: item.failure or len(item.texts) for item in logs},
        "mixed": any(item.mixed for item in logs),
        "left": [path.name for path in Path(root).glob(".probe-*")],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
