"""Trains a pickled job in a process of its own, as the command line would, and tells each step."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from infra.cluster import Cluster, RayConfig
from infra.reaper import reap_children
from tasks.training.job import TrainJob, run_job
from tasks.training.metrics import TrainProgress


def _tell(progress: TrainProgress) -> None:
    print(progress.step, flush=True)


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
