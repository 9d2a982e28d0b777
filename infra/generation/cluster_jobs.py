"""Runs one long function on the cluster, away from the driver: on a GPU, where there are any.

The function gets an ``on_progress`` callback and runs in an actor of its own, so that the driver
hears how far it is, and can end it, while it computes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from infra.cluster.gpu_memory import await_gpu_memory
from infra.cluster.ledger import Need
from infra.cluster.torch_build import read_torch_build
from infra.errors import ClusterError, InterruptedRun
from infra.generation.engine_pool import EnginePool
from infra.progress import JobProgress, ProgressListener, pace_job

T = TypeVar("T")

_POLL_S = 1.0
_CPUS = 0.5
_FREE_GPU_MEMORY = 0.5
"""What is waited for; a job that needs less begins later, and one that needs more says so."""


class JobActor:
    """Actor that runs a function in one thread and answers for it in another."""

    def __init__(self) -> None:
        self._done, self._total = 0, 0

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call the function once whoever was on its GPU has left; its error travels as it is."""
        if read_torch_build().kind != "cpu":
            with suppress(ClusterError):
                await_gpu_memory(_FREE_GPU_MEMORY, "wait")
        return function(*arguments, on_progress=self._note)

    def progress(self) -> tuple[int, int]:
        """Return how many of how many steps are done."""
        return self._done, self._total

    def _note(self, done: int, total: int) -> None:
        self._done, self._total = done, total


def run_on_cluster(
    pool: EnginePool,
    function: Callable[..., T],
    *arguments: Any,
    stage: str,
    listener: ProgressListener,
    stop: threading.Event,
) -> T:
    """Call ``function(*arguments, on_progress=…)`` in an actor and return what it returns.

    Idle engines leave where they hold what the job needs. Raises :class:`InterruptedRun` when
    ``stop`` is set, and :class:`ClusterError` when the actor is lost.
    """
    from ray.exceptions import RayActorError, RayTaskError

    ray = pool.cluster.ensure()
    gpus = int(pool.cluster.devices().on_gpus)
    with pool.make_room(stage, Need(_CPUS, gpus)):
        actor = ray.remote(JobActor).options(num_cpus=_CPUS, num_gpus=gpus, max_concurrency=2)
        worker = actor.remote()
        flight = worker.run.remote(function, arguments)
        pace = pace_job()
        try:
            while not ray.wait([flight], timeout=_POLL_S)[0]:
                if stop.is_set():
                    raise InterruptedRun(f"stopped in {stage}; it begins anew with the next run")
                done, total = ray.get(worker.progress.remote())
                if total:
                    pace.note(done)
                    eta_s = pace.estimate_s(total - done)
                    told = JobProgress(stage, done, total, 0.0, eta_s, "")
                    listener.stage_progress(told, finished=False)
            result: T = ray.get(flight)
        except RayActorError as error:
            raise ClusterError(f"{stage}: the process that ran it was lost: {error}") from error
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        finally:
            ray.kill(worker, no_restart=True)
    return result
