"""Runs long functions in actors of a real Ray: what they return, raise and tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from infra.cluster.session import Cluster, RayConfig
from infra.errors import ConfigError, InterruptedRun, Problem
from infra.generation.cluster_jobs import run_on_cluster
from infra.generation.engine_pool import EnginePool
from infra.progress import Progress
from tests.e2e.scripted import Silent

pytestmark = pytest.mark.e2e

Note = Callable[[int, int], None]


class Ear(Silent):
    """Remembers how far jobs were."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Remember it."""
        self.shares.append(progress.share)


def count_up(steps: int, *, on_progress: Note) -> int:
    for step in range(1, steps + 1):
        time.sleep(0.4)
        on_progress(step, steps)
    return steps


def refuse(*, on_progress: Note) -> None:
    raise ConfigError(Problem("here", "is nothing", "go elsewhere"))


@pytest.fixture
def pool(ray_cluster: None) -> EnginePool:
    return EnginePool(Cluster(RayConfig()), {}, Silent())


def test_a_job_returns_its_result_and_tells_how_far_it_is(pool: EnginePool) -> None:
    ear = Ear()
    stop = threading.Event()
    assert run_on_cluster(pool, count_up, 5, stage="jobs", listener=ear, stop=stop) == 5
    assert ear.shares == sorted(ear.shares) and 0 < ear.shares[0] < 1


def test_an_error_travels_back_as_it_is(pool: EnginePool) -> None:
    with pytest.raises(ConfigError, match="go elsewhere"):
        run_on_cluster(pool, refuse, stage="jobs", listener=Silent(), stop=threading.Event())


def test_a_job_ends_when_the_run_is_stopped(pool: EnginePool) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    began = time.monotonic()
    with pytest.raises(InterruptedRun, match="jobs"):
        run_on_cluster(pool, count_up, 100, stage="jobs", listener=Silent(), stop=stop)
    assert time.monotonic() - began < 20
