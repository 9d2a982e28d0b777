"""Is a program: computes on a Ray that counts two GPUs, with a PyTorch that is built for CPUs.

Prints one JSON line: what the nodes compute on, what an engine and two ranks took of the cluster,
and how the ranks found each other.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import ray

from infra.cluster.devices import Devices
from infra.cluster.ray_train import RankLink, RankRun, count_needs, run_ranks
from infra.cluster.session import Cluster, RayConfig
from infra.engines.config import ModelConfig
from infra.generation.engine_pool import EnginePool
from infra.store.storage import Storage
from tests.e2e.scripted import Silent

_MODEL = ModelConfig(
    model=str(Path("configs/demo/base").resolve()), max_num_seqs=16, cpu_kv_cache_gib=0.25
)


def tell_backend(_: object, link: RankLink) -> None:
    """Be a rank that says how it talks to the other, and which GPUs it sees."""
    import torch.distributed as dist

    link.tell((dist.get_backend(), os.environ.get("CUDA_VISIBLE_DEVICES")))
    dist.barrier()


def main(folder: str) -> None:
    """Start an engine, then ranks, and tell what they took."""
    ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    cluster, checked = Cluster(RayConfig()), list[Devices]()
    cluster.check_at_start(checked.append)
    waiting = len(checked)
    pool = EnginePool(cluster, {"m": _MODEL}, Silent())
    (replica,) = pool.replicas("m")
    left = ray.available_resources()
    pool.close()
    heard: list[Any] = []
    run = RankRun(tell_backend, None, 2, Storage(folder), "run", max_failures=0)
    run_ranks(cluster, run, stop=threading.Event(), on_message=heard.append)
    told = {
        "counted": ray.cluster_resources()["GPU"],
        "gpus": cluster.devices().gpus,
        "checked": [waiting, len(checked)],
        "left_beside_an_engine": left["GPU"],
        "window": replica.window,
        "facts": replica.facts,
        "ranks_need": count_needs(cluster, 2).gpus,
        "ranks": heard,
    }
    ray.shutdown()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
