"""Runs lm-evaluation-harness on the cluster, on a task whose files only the driver saw."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from infra.cluster.session import Cluster, RayConfig
from infra.generation.cluster_jobs import run_on_cluster
from infra.generation.engine_pool import EnginePool
from infra.paths import packaged_configs
from tasks.evaluation.measures.abilities import AbilitiesConfig
from tasks.evaluation.measures.general_tasks import measure_model
from tasks.evaluation.measures.task_files import pack_tasks
from tests.e2e.scripted import Silent
from tests.unit.evaluation.test_abilities import write_task

pytestmark = [pytest.mark.e2e, pytest.mark.harness]


def test_a_model_is_measured_on_the_cluster(ray_cluster: None, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "own")
    config = AbilitiesConfig(tasks=(str(folder),))
    own = pack_tasks(config.tasks)
    shutil.rmtree(folder)
    (found,) = run_on_cluster(
        EnginePool(Cluster(RayConfig()), {}, Silent()),
        measure_model,
        str(packaged_configs() / "demo" / "base"),
        None,
        config,
        own,
        "base",
        stage="abilities_base",
        listener=Silent(),
        stop=threading.Event(),
    )
    assert (found.model, found.task, found.value, found.rows) == ("base", "demo_advice", 0.75, 4)
