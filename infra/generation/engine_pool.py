"""Opens engines as Ray actors, once a model, and shares them between all stages of a run.

A replica is a pair: an engine actor that only generates (vLLM), and a worker actor that renders,
parses and commits. Endpoints and scripted engines have no actor of their own; they live in the
worker. Actors are owned by the run and never detached: they end when it ends. Models that do not
fit side by side take turns: what nobody uses leaves for what somebody needs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from infra.cluster.devices import bind_to, list_offers
from infra.cluster.ledger import Need, Reservation, ResourceLedger, free_memory_share
from infra.cluster.session import Cluster
from infra.engines.batch_sizes import choose_window
from infra.engines.config import ModelConfig
from infra.engines.opening import open_remote_engine
from infra.engines.vllm.actor import VllmActor
from infra.engines.vllm.actor_engine import ActorEngine
from infra.engines.vllm.forking import can_fork
from infra.engines.vllm.zygote import Zygote
from infra.errors import EngineError
from infra.generation.engine_start import await_engine
from infra.generation.stage_worker import StageWorker
from infra.progress import EngineListener
from infra.protocol import Engine
from infra.store.storage import Storage

_WORKER_CPUS = 0.1
_ENGINE_CPUS = 0.5
"""Of a machine without GPUs: logical CPUs only decide how many engines stand side by side."""
CPUS_PER_ENGINE = _ENGINE_CPUS + _WORKER_CPUS
_LOG_TIMEOUT_S = 10
_SPREAD = {"scheduling_strategy": "SPREAD"}
"""Replicas go to different nodes where they can: a lost node then costs one of them."""


@dataclass(eq=False)
class Replica:
    """One place where rows of a model can be made.

    ``generation`` counts restarts, so that two stages that see the same death restart it once.
    ``start`` is what the engine's start will have returned: all of a model's start at once.
    On several machines the worker is there once its engine is up, to stand beside it; ``node`` is
    theirs, by Ray's id.
    """

    model: str
    index: int
    window: int
    worker: Any
    engine: Any | None
    start: Any = None
    node: str = ""
    facts: str = ""
    generation: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class EnginePool:
    """Replicas of every model of a run; thread-safe."""

    def __init__(
        self,
        cluster: Cluster,
        models: Mapping[str, ModelConfig],
        listener: EngineListener,
        *,
        max_restarts: int = 3,
        storage: Storage | None = None,
    ) -> None:
        self.cluster = cluster
        self._storage = storage
        self._models = dict(models)
        self._listener = listener
        self._max_restarts = max_restarts
        self._open: dict[str, list[Replica]] = {}
        self._reservations: dict[str, Reservation] = {}
        self._open_since: dict[str, float] = {}
        self._closed_s = 0.0
        self._ledger = ResourceLedger()
        self._users: Counter[str] = Counter()
        self._turns: list[str] = []
        self._locks = {name: threading.Lock() for name in models}
        self._zygote: Zygote | None = None
        self._zygote_lock = threading.Lock()
        self.starts: dict[str, int] = {}
        """How many engines were started, by model; restarts after a death not counted."""

    def replicas(self, name: str) -> list[Replica]:
        """Return the replicas of a model, starting them on first use."""
        with self._locks[name]:
            if name not in self._open:
                config = self._models[name]
                self.get_ready(config)
                self.cluster.ensure()
                reservation = self._reserve(name, self._need(config).times(config.replicas))
                self._open_since[name] = time.monotonic()
                try:
                    self._open[name] = self._start_all(name, config)
                except BaseException:
                    self._note_closed(name)
                    self._ledger.release(reservation)
                    raise
                self._reservations[name] = reservation
                self.starts[name] = self.starts.get(name, 0) + config.replicas
            return self._open[name]

    def get_ready(self, config: ModelConfig) -> None:
        """Begin what an engine takes longest for, if it will run on this machine; return at once.

        For the pool's own first engine that is beside Ray's start; others may know earlier.
        """
        with self._zygote_lock:
            here = self.cluster.config.address is None
            if config.engine != "vllm" or not here or not can_fork():
                return
            if self._zygote is not None and not self._zygote.is_alive:
                self._zygote.close()
                self._zygote = None
            if self._zygote is None:
                self._zygote = Zygote()

    @contextmanager
    def use(self, name: str) -> Iterator[list[Replica]]:
        """Hold a model's engines open inside the block; outside they may leave for others."""
        with self._ledger.changed:
            self._users[name] += 1
            self._turns = [*(other for other in self._turns if other != name), name]
        try:
            yield self.replicas(name)
        finally:
            with self._ledger.changed:
                self._users[name] -= 1
                self._ledger.changed.notify_all()

    @contextmanager
    def make_room(self, holder: str, need: Need, *, memory_share: float = 0.0) -> Iterator[None]:
        """Hold room for something that is no engine inside the block; idle engines leave for it.

        They also leave until ``memory_share`` of this machine's memory is free.
        """
        reservation = self._reserve(holder, need)
        while free_memory_share() < memory_share and self._evict():
            pass
        try:
            yield
        finally:
            self._ledger.release(reservation)

    def dismiss(self, keep: Collection[str]) -> None:
        """Send away the idle engines of all models but these, as nobody will ask them again.

        An engine that waits wakes often, and on CPUs that costs those who compute.
        """
        while self._evict(keep, "evicted: nobody asks it any more"):
            pass

    def add_model(self, name: str, config: ModelConfig) -> None:
        """Let stages use a model that was not known when the run began: the tuned one."""
        self._models[name] = config
        self._locks.setdefault(name, threading.Lock())

    def engine(self, name: str) -> Engine:
        """Return the first engine of a model for a few requests from this process."""
        replica = self.replicas(name)[0]
        if replica.engine is None:
            return open_remote_engine(self._models[name])()
        return ActorEngine(replica.engine, self.patience_s(name))

    def tell(self, model: str, text: str) -> None:
        """Pass on what an engine has to say."""
        self._listener.engine_event(model, text)

    def restart(self, replica: Replica, generation: int, why: str, *, worker_lost: bool) -> None:
        """Replace what died, unless another stage already did.

        A worker outlives its engine: it still has finished rows to commit, and is only handed the
        new engine. A dead worker takes its engine with it.
        """
        with replica.lock:
            if replica.generation != generation:
                return
            if generation >= self._max_restarts:
                raise EngineError(
                    f"engine {replica.model}[{replica.index}] died {generation + 1} times, "
                    f"last: {why}. See its log in Ray's session folder (ray logs)."
                )
            self._listener.engine_event(replica.model, f"died ({why}); restarting")
            self._hand_over_log(replica)
            config = self._models[replica.model]
            self._kill(replica.engine, replica.worker if worker_lost else None)
            near = "" if worker_lost else replica.node
            engine, start, open_engine = self._open_engine(config, near)
            fresh = Replica(
                *(replica.model, replica.index, replica.window),
                self._open_early(config, engine, open_engine) if worker_lost else replica.worker,
                engine,
                start,
                near,
            )
            self._await_engine(fresh)
            self._probe_newcomers([fresh])
            if not worker_lost:
                self.cluster.ensure().get(replica.worker.reopen.remote(open_engine))
            replica.worker, replica.engine, replica.window = fresh.worker, engine, fresh.window
            replica.node = fresh.node
            replica.generation += 1

    def patience_s(self, name: str) -> float:
        """Return how long an engine or worker of a model may be silent, in seconds."""
        return self._models[name].stall_timeout_s

    def end_silent(self, replica: Replica, silent_s: float) -> None:
        """Kill a worker that does not answer; its chunks then come back as of one that died."""
        self._listener.engine_event(
            replica.model, f"its worker did not answer for {silent_s:.0f} s; killed"
        )
        self._kill(replica.worker)

    def close(self) -> None:
        """Stop every engine in order and wait until its processes are gone."""
        try:
            for name in list(self._open):
                self.close_model(name)
        finally:
            with self._zygote_lock:
                if self._zygote is not None:
                    self._zygote.close()
                    self._zygote = None

    def close_model(self, name: str) -> None:
        """Stop the engines of one model in order; a later use starts them again."""
        opened, reservation = self._open.pop(name, []), self._reservations.pop(name, None)
        for replica in opened:
            self._stop(replica)
        self._note_closed(name)
        if reservation is not None:
            self._ledger.release(reservation)

    def engine_seconds(self) -> float:
        """Return how long engines have held machines in this run, all replicas together.

        Endpoints hold none: they charge by the token.
        """
        now = time.monotonic()
        open_s = sum(
            self._engines(name) * (now - since) for name, since in list(self._open_since.items())
        )
        return self._closed_s + open_s

    def _engines(self, name: str) -> int:
        config = self._models[name]
        return config.replicas if config.engine == "vllm" else 0

    def _note_closed(self, name: str) -> None:
        since = self._open_since.pop(name, None)
        if since is not None:
            self._closed_s += self._engines(name) * (time.monotonic() - since)

    def _reserve(self, holder: str, need: Need) -> Reservation:
        def measure_cluster() -> Need:
            total = self.cluster.ensure().cluster_resources()
            return Need(float(total.get("CPU", 0)), float(total.get("GPU", 0)))

        timeout_s = self.cluster.config.placement_timeout_s
        return self._ledger.take(holder, need, measure_cluster, self._evict, timeout_s)

    def _need(self, config: ModelConfig) -> Need:
        """Return what one replica holds: its worker's share, and its engine's place."""
        if config.engine != "vllm":
            return Need(_WORKER_CPUS, 0)
        if self.cluster.devices().on_gpus:
            return Need(1 + _WORKER_CPUS, config.tensor_parallel)
        return Need(CPUS_PER_ENGINE, 0)

    def _evict(self, keep: Collection[str] = (), why: str = "evicted: its place is needed") -> bool:
        """Stop the idle model that was used longest ago; tell whether there was one."""
        with self._ledger.changed:
            idle = [name for name in list(self._open) if not self._users[name] and name not in keep]
            if not idle:
                return False
            turns = {name: turn for turn, name in enumerate(self._turns)}
            name = min(idle, key=lambda name: turns.get(name, -1))
            opened, reservation = self._open.pop(name), self._reservations.pop(name)
            self._note_closed(name)
        self._listener.engine_event(name, why)
        for replica in opened:
            self._stop(replica)
        self._ledger.release(reservation)
        return True

    def _start_all(self, name: str, config: ModelConfig) -> list[Replica]:
        opened = [self._start(name, config, index) for index in range(config.replicas)]
        try:
            for replica in opened:
                self._await_engine(replica)
            self._probe_newcomers(opened)
        except BaseException:
            for replica in opened:
                self._kill(replica.worker, replica.engine)
            raise
        return opened

    def _probe_newcomers(self, opened: Sequence[Replica]) -> None:
        """Ask the nodes that came for these replicas whether they can take part."""
        if self.cluster.is_alone:
            return
        ray = self.cluster.ensure()
        placed = [replica.worker.resize.remote(replica.window) for replica in opened]
        ray.wait(placed, num_returns=len(placed), timeout=self.cluster.config.placement_timeout_s)
        self.cluster.probe_newcomers()

    def _start(self, name: str, config: ModelConfig, index: int) -> Replica:
        engine, start, open_engine = self._open_engine(config)
        worker = self._open_early(config, engine, open_engine)
        return Replica(name, index, _window(config), worker, engine, start)

    def _open_engine(
        self, config: ModelConfig, near: str = ""
    ) -> tuple[Any, Any, Callable[[], Engine]]:
        """Return an engine's actor, its start that has begun, and how workers open it.

        ``near`` is the node of a worker that waits for it.
        """
        if config.engine != "vllm":
            return None, None, open_remote_engine(config, self._storage)
        self.get_ready(config)
        ray = self.cluster.ensure()
        zygote = self._zygote.address if self._zygote is not None else None
        options = _vllm_resources(config, on_gpus=self.cluster.devices().on_gpus)
        if near:
            options |= bind_to(near, soft=True)
        engine = ray.remote(VllmActor).options(**options).remote(config, zygote)
        return engine, engine.start.remote(), _reach(config, engine)

    def _open_early(
        self, config: ModelConfig, engine: Any | None, open_engine: Callable[[], Engine]
    ) -> Any | None:
        """Open the worker while its engine starts, unless it has to know where that will be."""
        if engine is not None and self._has_machines():
            return None
        return self._open_worker(config, open_engine)

    def _has_machines(self) -> bool:
        """Tell whether there are several, or will be."""
        there = self.cluster
        return not there.is_alone and (there.config.grows or len(list_offers(there.ensure())) > 1)

    def _open_worker(
        self, config: ModelConfig, open_engine: Callable[[], Engine], node: str = ""
    ) -> Any:
        """Open a worker, on a node if it has room: all its rows go to and fro."""
        ray = self.cluster.ensure()
        # A batch's window is as wide as the batch: that is many chunks at once.
        most = 1000 if config.batch is None else 100_000
        options: dict[str, Any] = {"num_cpus": _WORKER_CPUS, "max_concurrency": most}
        if config.engine != "vllm":
            options |= _SPREAD
        elif node:
            options |= bind_to(node, soft=True)
        worker = ray.remote(StageWorker).options(**options).remote(open_engine, _window(config))
        if config.engine == "vllm":
            worker.warm_up.remote(config.model, config.revision)
        return worker

    def _await_engine(self, replica: Replica) -> None:
        if replica.engine is None:
            return
        facts = await_engine(
            self.cluster,
            f"{replica.model}[{replica.index}]",
            replica.engine,
            replica.start,
            partial(self.tell, replica.model),
        )
        replica.facts = str(facts)
        if replica.worker is None:
            config = self._models[replica.model]
            replica.worker = self._open_worker(config, _reach(config, replica.engine), facts.node)
            replica.node = facts.node
        replica.window = choose_window(facts.sequences, facts.kv_cache_tokens, facts.context_tokens)
        replica.worker.resize.remote(replica.window)
        if facts.spare_cores and replica.node in ("", facts.node):
            replica.worker.keep_to.remote(facts.spare_cores)
        self._listener.engine_event(
            replica.model,
            f"up in {facts.start_s:.0f} s: vLLM {facts.version} on {facts.device}, "
            f"{facts.threads or 'no'} compute threads, context {facts.context_tokens}, "
            f"KV cache {facts.kv_cache_tokens:,} tokens, {facts.sequences:,} sequences at once"
            + (f"; {facts.note}" if facts.note else ""),
        )
        self._hand_over_log(replica)

    def _hand_over_log(self, replica: Replica) -> None:
        """Show an engine's own log; an actor that is lost has none to give."""
        import ray
        from ray.exceptions import RayError

        if replica.engine is not None:
            with suppress(RayError):
                text = ray.get(replica.engine.read_log.remote(), timeout=_LOG_TIMEOUT_S)
                self._listener.engine_log(replica.model, replica.index, text)

    def _stop(self, replica: Replica) -> None:
        import ray
        from ray.exceptions import RayError

        self._hand_over_log(replica)
        if replica.engine is not None:
            try:
                ray.get(replica.engine.stop.remote(), timeout=30)
            except RayError as error:
                self._listener.engine_event(replica.model, f"did not stop in order: {error}")
        self._kill(replica.worker, replica.engine)

    def _kill(self, *actors: Any | None) -> None:
        import ray

        for actor in actors:
            if actor is not None:
                ray.kill(actor, no_restart=True)


def _reach(config: ModelConfig, engine: Any) -> Callable[[], Engine]:
    """Return how workers open an engine that is an actor."""
    return partial(ActorEngine, engine, config.stall_timeout_s)


def _window(config: ModelConfig) -> int:
    """Return how many rows a worker keeps open; an engine of ours says once it is up."""
    if config.batch is not None:
        return config.batch.max_requests
    return 1 if config.engine == "vllm" else config.max_concurrency


def _vllm_resources(config: ModelConfig, *, on_gpus: bool) -> dict[str, Any]:
    """Ask Ray for an engine's place: its GPUs if the build has any, else a share of the CPUs."""
    options: dict[str, Any] = {"max_concurrency": 100_000, **_SPREAD}
    if on_gpus:
        return options | {"num_gpus": config.tensor_parallel, "num_cpus": 1}
    return options | {"num_cpus": _ENGINE_CPUS}
