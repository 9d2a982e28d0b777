"""Trains a pickled job in a process of its own, as the command line would, and tells each step."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from infra.cluster.ray_train import RankLink
from infra.cluster.reaper import reap_children
from infra.cluster.session import Cluster, RayConfig
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.launch import run_job
from tasks.training.ranks.metrics import TrainProgress
from tasks.training.ranks.trainer import TrainingDiverged


def _tell(progress: TrainProgress) -> None:
    print(progress.step, flush=True)


def diverge_at_once(tries: str, link: RankLink) -> None:
    """Is what a rank may do: note that it tried, and fail for good."""
    from ray.train import get_context

    if get_context().get_world_rank() == 0:
        with Path(tries).open("a", encoding="utf-8") as file:
            file.write("once\n")
        raise TrainingDiverged(f"one of {get_context().get_world_size()} ranks diverged")


def _main() -> None:
    job: TrainJob = pickle.loads(Path(sys.argv[1]).read_bytes())
    with reap_children():
        cluster = Cluster(RayConfig(num_cpus=2))
        try:
            outcome = run_job(job, cluster, stop=threading.Event(), on_progress=_tell)
        finally:
            cluster.close()
    print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    _main()
