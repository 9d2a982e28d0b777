"""Starts a Ray whose node does not show itself at first, as on a machine that has much to do."""

from __future__ import annotations

import json
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
from ray._private import services

from infra.cluster.local_ray import start_local_ray


def main() -> None:
    """Fail the first start after its processes are up; tell what runs and what was computed."""
    really = services.get_node
    missed: list[int] = []

    def miss_once(*args: Any, **kwargs: Any) -> Any:
        if not missed:
            missed.append(_count_raylets())
            raise Exception("The current node timed out during startup.")
        return really(*args, **kwargs)

    services.get_node = miss_once
    start_local_ray(ray, num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20)
    answer = ray.get(ray.remote(lambda: 6 * 7).remote())
    print(json.dumps({"missed": missed, "raylets": _count_raylets(), "answer": answer}))
    ray.shutdown()


def _count_raylets() -> int:
    children = psutil.Process().children(recursive=True)
    return sum(process.name() == "raylet" for process in children)


if __name__ == "__main__":
    main()
