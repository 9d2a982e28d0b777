"""Runs one function on many ranks under Ray Train, and hears from them; its only door.

Ray Train starts the ranks, joins them in a process group (gloo on CPUs, NCCL on GPUs), and starts
all of them anew when one is lost, up to ``max_failures`` times. An error of our own (see
:mod:`infra.errors`) is final there: it would come again, or Prefect has to decide. Ranks find
their checkpoints at the storage root by themselves, so that a run whose driver died goes on just
like one that lost a rank.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.cluster.devices import bind_to
from infra.cluster.ledger import Need
from infra.cluster.session import Cluster
from infra.errors import ClusterError, OpenCharacterError
from infra.secrets.s3_credentials import name_endpoint
from infra.store.storage import Storage, is_remote

_TICK_S = 0.5
_GRACE_S = 60.0
_POLL_S = "0.5"
_NAME = "ray"
_CPUS_PER_RANK = 0.25
_LOOPBACK = Path("/sys/class/net/lo")
"""Of a machine without GPUs: ranks take turns with engines, and logical CPUs only place actors."""


class RanksFailed(OpenCharacterError):
    """Failure of ranks, more often than Ray Train was allowed to start them again."""


class RankLink(Protocol):
    """Connection of a rank with the driver."""

    def tell(self, message: Any) -> None:
        """Send something to the driver; returns at once."""
        ...

    def stop_wanted(self) -> bool:
        """Tell whether the driver wants the ranks to stop in order; cheap."""
        ...


@dataclass(frozen=True, slots=True)
class RankRun:
    """What runs on how many ranks, and where Ray Train keeps its own small files.

    ``function`` gets ``argument`` and a :class:`RankLink`. It must be importable on every node.
    """

    function: Callable[[Any, RankLink], None]
    argument: Any
    ranks: int
    storage: Storage
    folder: str
    max_failures: int


def count_needs(cluster: Cluster, ranks: int) -> Need:
    """Return what so many ranks will hold of the cluster."""
    on_gpus = cluster.devices().on_gpus
    return Need(1, 1).times(ranks) if on_gpus else Need(_CPUS_PER_RANK, 0).times(ranks)


def run_ranks(
    cluster: Cluster,
    run: RankRun,
    *,
    stop: threading.Event,
    on_message: Callable[[Any], None],
) -> None:
    """Run to the end; messages are handed over in the calling thread.

    When ``stop`` is set the ranks are asked to stop, and what they raise then is raised here. They
    are also asked, and get a while, when something is raised in this thread.

    Raises:
        OpenCharacterError: What a rank raised; never tried again by Ray Train.
        RanksFailed: Ranks died, or failed in some other way, more than ``max_failures`` times.
        ClusterError: There was no room for the ranks.
    """
    ray = cluster.ensure()
    # On another node it would be lost with that node, and the training with it.
    here = bind_to(ray.get_runtime_context().get_node_id())
    board = ray.remote(_Board).options(num_cpus=0, max_concurrency=8, **here).remote()
    ended: list[BaseException | None] = []
    fit = threading.Thread(target=lambda: ended.append(_fit(cluster, run, board)), daemon=True)
    fit.start()
    try:
        while fit.is_alive():
            fit.join(_TICK_S)
            for message in ray.get(board.take.remote(stop.is_set())):
                on_message(message)
    except BaseException:
        board.take.remote(True)
        fit.join(_GRACE_S)
        raise
    finally:
        ray.kill(board, no_restart=True)
        _clear(run.storage, f"{run.folder}/{_NAME}")
    if ended[0] is not None:
        raise ended[0]


class _Board:
    """Actor between ranks and driver: messages one way, the wish to stop the other way."""

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._stop = False

    def put(self, message: Any) -> None:
        self._messages.append(message)

    def take(self, stop: bool) -> list[Any]:
        self._stop = stop
        taken, self._messages = self._messages, []
        return taken

    def stop_wanted(self) -> bool:
        return self._stop


class _BoardLink:
    """A rank's end of the board; a thread asks for the wish to stop, so that no step waits."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._stop = False
        threading.Thread(target=self._watch, daemon=True).start()

    def tell(self, message: Any) -> None:
        self._board.put.remote(message)

    def stop_wanted(self) -> bool:
        return self._stop

    def _watch(self) -> None:
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):
            while not self._stop:
                self._stop = ray.get(self._board.stop_wanted.remote())
                time.sleep(_TICK_S)


def _be_rank(given: dict[str, Any]) -> None:
    if given["shares_cores"]:
        _share_cores()
    given["function"](given["argument"], _BoardLink(given["board"]))


def _share_cores() -> None:
    """Compute on this rank's share of the cores of its own machine, of which Ray gives it one."""
    import torch
    from ray.train import get_context

    ranks = get_context().get_local_world_size()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))


def _fit(cluster: Cluster, run: RankRun, board: Any) -> BaseException | None:
    """Start Ray Train and wait for its end; return what went wrong in our own terms."""
    # Read in this process when the trainer starts: its metrics exporter and state keeping are of
    # no use here, and a slower poll of the ranks would add two seconds to every end.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_S)
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    if cluster.is_own:
        # An actor that looks out for nodes that are about to be taken away: here there are none.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    os.environ.setdefault(
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(cluster.config.placement_timeout_s)
    )
    from ray.train import (
        ControllerError,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
        UserCallback,
        WorkerGroupError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    from infra.cluster.local_ranks import LocalTorchConfig

    class EndOnOwnErrors(UserCallback):  # type: ignore[misc]
        """Callback to end a run at an error of ours: what it raises, Ray Train does not retry."""

        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Any]) -> None:
            for error in worker_exceptions.values():
                cause = _cause(error)
                if isinstance(cause, OpenCharacterError):
                    raise cause

    idle = {"DatasetsCallback"}
    if cluster.is_own:
        idle.add("PlacementGroupCleanerCallback")

    class LeanTrainer(TorchTrainer):  # type: ignore[misc]
        """Trainer that starts no actor for Ray Data, nor to clean a Ray that ends with the run.

        Each takes a core 4 s of imports before the ranks begin. A Ray Train that names them
        otherwise starts them, and that is all.
        """

        def _create_default_callbacks(self) -> list[Any]:
            made = super()._create_default_callbacks()
            return [callback for callback in made if type(callback).__name__ not in idle]

    try:
        on_gpus = cluster.devices().on_gpus
    except OpenCharacterError as error:
        return error
    alone = cluster.is_alone and not on_gpus
    path, filesystem = open_for_arrow(run.storage, run.folder)
    trainer = LeanTrainer(
        _be_rank,
        train_loop_config={
            "function": run.function,
            "argument": run.argument,
            "board": board,
            "shares_cores": not on_gpus and not alone,
        },
        torch_config=LocalTorchConfig() if alone else TorchConfig("nccl" if on_gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=run.ranks,
            use_gpu=on_gpus,
            resources_per_worker=None if on_gpus else {"CPU": _CPUS_PER_RANK},
        ),
        run_config=RunConfig(
            name=_NAME,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=run.max_failures, controller_failure_limit=0),
            callbacks=[EndOnOwnErrors()],
            worker_runtime_env={"env_vars": _rank_environment(run.ranks, on_gpus, alone=alone)},
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except ControllerError as error:
        cause = error.controller_failure
        if isinstance(cause, OpenCharacterError):
            return cause
        return ClusterError(
            f"Ray Train could not start {run.ranks} ranks: {cause}. Free on the cluster:"
            f" {cluster.describe_free()}. Ask for fewer training.workers, or free some."
        )
    except WorkerGroupError as error:
        reasons = "; ".join(
            f"rank {rank}: {_cause(failure)!r}" for rank, failure in error.worker_failures.items()
        )
        return RanksFailed(
            f"training ranks failed {run.max_failures + 1} times, the last time: {reasons}."
            " Run again to go on from the last checkpoint, or see their logs in Ray's session"
            " folder (ray logs)."
        )
    except TrainingFailedError as error:
        return RanksFailed(f"training failed: {error}. Run again to go on.")
    except BaseException as error:
        return error
    return None


def _clear(storage: Storage, folder: str) -> None:
    """Remove what Ray Train keeps of a run: nothing here is read again."""
    for path in storage.walk(folder):
        storage.remove(path)
    if not is_remote(storage.root):
        shutil.rmtree(storage.url(folder), ignore_errors=True)


def _cause(error: Any) -> Any:
    """Return what a rank raised; Ray Train wraps it and offers no other way to it."""
    return getattr(error, "_base_exc", error)


def _rank_environment(ranks: int, on_gpus: bool, *, alone: bool) -> dict[str, str]:
    """Return a rank's environment.

    A rank that is to compute on CPUs sees no GPU, whatever its machine has: one that saw it would
    put the model there and send its gradients over gloo. Ranks that are ``alone`` on this machine
    share its threads, which Ray would set to one, and meet over loopback, where gloo would take
    the address of the host's name.
    """
    if on_gpus:
        return {}
    unseen = {"CUDA_VISIBLE_DEVICES": ""}
    if not alone:
        return unseen
    threads = str(max(1, (os.cpu_count() or 1) // ranks))
    meet = {"GLOO_SOCKET_IFNAME": "lo"} if _LOOPBACK.exists() else {}
    return {**unseen, **meet, "OMP_NUM_THREADS": threads}


def open_for_arrow(storage: Storage, folder: str) -> tuple[str, Any]:
    """Return a folder of the storage root as Ray Train wants it: path and Arrow file system.

    Arrow reads keys and region from the environment like s3fs, but not the endpoint's address.
    """
    import pyarrow.fs

    if not is_remote(storage.root):
        return storage.url(folder), pyarrow.fs.LocalFileSystem()
    endpoint = name_endpoint()
    if not endpoint:
        return storage.url(folder).removeprefix("s3://"), pyarrow.fs.S3FileSystem()
    scheme, _, address = endpoint.rpartition("://")
    filesystem = pyarrow.fs.S3FileSystem(
        endpoint_override=address.rstrip("/"), scheme=scheme or "https"
    )
    return storage.url(folder).removeprefix("s3://"), filesystem
