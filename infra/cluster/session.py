"""Starts a local Ray, or joins the cluster it was told to join; the door to ``ray.init``.

Nothing starts before the first engine is needed. Joining is explicit: an address that does not
answer is an error, never a silent local start. A Ray that was already running in this process is
used and left running.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from infra.cluster.devices import (
    Devices,
    NodeLook,
    NodeOffer,
    ask_nodes,
    describe_machine,
    has_running_ray,
    list_offers,
    weigh_offers,
)
from infra.cluster.local_ray import keep_to_loopback, start_local_ray, tame_driver
from infra.cluster.node_checks import Question
from infra.cluster.probe import check_nodes
from infra.cluster.torch_build import read_torch_build
from infra.errors import ClusterError, ConfigError, Problem
from infra.knobs import Knobs, execution
from infra.secrets.travelling import make_carrier

_KNOCK_S = 5.0
_SILENCE_S = 10.0

_log = logging.getLogger(__name__)

_GREETINGS = {
    "ray._private.worker": "SIGTERM handler is not set because current thread",
    "ray._private.authentication.authentication_token_setup": (
        "Token authentication is enabled for this Ray cluster"
    ),
}
"""What Ray 2.60 warns of at every start, by logger: stages start Ray from threads, and the token
is Ray's own default. Nothing else that Ray says is kept from people."""


def _read_address(text: str) -> str | None:
    """Return the cluster that Ray's own variable names; a dashboard's address is none to join."""
    return None if text in ("", "local") or "://" in text.removeprefix("ray://") else text


class RayConfig(Knobs):
    """Where Ray runs."""

    address: str | None = execution(
        lambda: _read_address(os.environ.get("RAY_ADDRESS", "")),
        min_length=1,
        description="Address of a running cluster to join, where RAY_ADDRESS does not say it; None"
        " starts Ray in this process",
    )
    num_cpus: float | None = execution(
        None, gt=0, description="Logical CPUs of a local Ray; None takes what the machine has"
    )
    object_store_mib: int = execution(
        256, ge=80, description="Object store of a local Ray in MiB; rows are small"
    )
    grows: bool = execution(
        False,
        description="Nodes of the cluster are started when they are asked for: what does not fit"
        " on those that are there is waited for, and no error",
    )
    placement_timeout_s: float = execution(
        600.0, gt=0, description="How long an actor may wait for a place, start-up included"
    )


def describe_own_machine(config: RayConfig | None = None) -> Devices:
    """Return what a Ray that is started here would have to compute on; starts nothing."""
    return describe_machine(_count_cpus(config or RayConfig()))


def _count_cpus(config: RayConfig) -> int:
    return int(config.num_cpus or max(2, os.cpu_count() or 2))


class Cluster:
    """The run's Ray: started on first use, stopped at the end if it was started here."""

    def __init__(self, config: RayConfig) -> None:
        self.config = config
        self._lock = threading.RLock()
        self._ready = False
        self._owned = False
        self._looks: dict[str, NodeLook] = {}
        self._checks: list[Callable[[Devices], None]] = []
        self._probe: Callable[[Any, Sequence[NodeOffer]], None] | None = None
        self._probed: set[str] = set()
        self._refused: ConfigError | None = None

    @property
    def started(self) -> bool:
        """Tell whether this run needed Ray at all."""
        return self._ready

    @property
    def is_own(self) -> bool:
        """Tell whether Ray was started here, and so ends with the run."""
        return self._owned

    def check_at_start(self, check: Callable[[Devices], None]) -> None:
        """Have ``check`` look at what there is to compute on before anything runs there.

        It raises :class:`ConfigError` for what can never fit. For a Ray that is to start in this
        process that is at once, as nothing needs to start for it.
        """
        if self.config.address is None and not has_running_ray():
            check(describe_own_machine(self.config))
        else:
            self._checks.append(check)

    def probe_at_start(self, question: Question, note: Callable[[str], None]) -> None:
        """Have the nodes of a cluster that is joined say first of all whether they can take part.

        :class:`ConfigError` tells what is wrong with all of them. A Ray that starts in this process
        is this machine's alone and is asked nothing.
        """
        self._probe = partial(check_nodes, question=question, note=note)

    def probe_newcomers(self) -> None:
        """Ask the nodes that have come since, of a cluster that grows, what the others were asked.

        Raises :class:`ConfigError` as :meth:`ensure` does, before such a node makes a row.
        """
        with self._lock:
            self._ask_around(self.ensure())

    def ensure(self) -> Any:
        """Connect on first use and return the ``ray`` module."""
        with self._lock:
            local = keep_to_loopback() if self.config.address is None else nullcontext()
            with local, tame_driver():
                import ray

            if self._refused is not None:
                raise self._refused
            if not self._ready:
                if not ray.is_initialized():
                    self._connect(ray)
                    self._owned = True
                self._ready = True
                self._check(ray)
            return ray

    def devices(self) -> Devices:
        """Return what the nodes that are there compute on; each is asked once.

        Raises :class:`ConfigError` where a node's PyTorch does not fit its GPUs.
        """
        with self._lock:
            ray = self.ensure()
            offers = list_offers(ray)
            unknown = [offer for offer in offers if offer.gpus and offer.node not in self._looks]
            build = read_torch_build()
            if self.is_alone and build.kind == "cpu":  # the node's PyTorch is ours: no need to ask
                self._looks |= {offer.node: NodeLook(build, 0) for offer in unknown}
            else:
                self._looks |= ask_nodes(ray, unknown, self.config.placement_timeout_s)
            nodes = weigh_offers(offers, self._looks)
            # Of nodes that are not there yet nothing is known, but that they are like this one.
            growing = self.config.grows and not any(offer.gpus for offer in offers)
            return Devices(nodes, expects_gpus=growing and build.kind != "cpu")

    def describe_free(self) -> str:
        """Say which resources are free, for error messages."""
        import ray

        free = ray.available_resources()
        return ", ".join(
            f"{name} {amount:g}" for name, amount in sorted(free.items()) if ":" not in name
        )

    def close(self) -> None:
        """Shut down a Ray that was started here."""
        with self._lock:
            if self._owned:
                import ray

                ray.shutdown()
            self._ready = self._owned = False
            self._looks, self._probed = {}, set()

    @property
    def is_alone(self) -> bool:
        """Tell whether this Ray is this machine's alone, started by this run."""
        return self._owned and self.config.address is None

    def _check(self, ray: Any) -> None:
        """Have everybody who wants to look at what is there; leave it again if it cannot do."""
        try:
            self._ask_around(ray)
            if self._checks:
                devices = self.devices()
                for check in self._checks:
                    check(devices)
        except BaseException as error:
            self._refused = error if isinstance(error, ConfigError) else None
            self.close()
            raise

    def _ask_around(self, ray: Any) -> None:
        """Probe each node once a session, where there are others than the driver's own."""
        if self._probe is None or self.is_alone:
            return
        offers = list_offers(ray)
        new = [offer for offer in offers if offer.node not in self._probed]
        if new and (self.config.address is not None or len(offers) > 1):
            self._probe(ray, new)
            self._probed |= {offer.node for offer in new}

    def _connect(self, ray: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        quiet: dict[str, Any] = {
            "include_dashboard": False,
            "logging_level": logging.WARNING,
            "log_to_driver": False,
        }
        silence_greetings()
        address = self.config.address
        try:
            if address is not None:
                knock_at(address)
                carrier = make_carrier(os.environ)
                with _tell_if_silent(address):
                    ray.init(
                        address=address,
                        logging_level=logging.WARNING,
                        log_to_driver=False,
                        runtime_env={"worker_process_setup_hook": carrier} if carrier else None,
                    )
            else:
                start_local_ray(
                    ray,
                    num_cpus=_count_cpus(self.config),
                    object_store_memory=self.config.object_store_mib * 2**20,
                    **quiet,
                )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"Ray at {address or 'this machine'} did not answer: {error}. "
                "Check `ray status` and the address, or leave ray.address out to start Ray here."
            ) from error


def knock_at(address: str) -> None:
    """Raise :class:`ConfigError` where nobody listens at a cluster's address; takes seconds.

    Ray itself would go on asking for minutes. What is not of the form host:port, such as ``auto``,
    is for Ray to resolve.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    where = f"ray.address {address}"
    todo = (
        "`ray status` on the head says its address; leave ray.address out, and RAY_ADDRESS unset,"
        " to start Ray here"
    )
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(Problem(where, f"{port!r} is no port", todo))
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        what = f"nobody answers there: {error.strerror or error}"
        raise ConfigError(Problem(where, what, todo)) from error


@contextmanager
def _tell_if_silent(address: str) -> Iterator[None]:
    """Say so where somebody listens at an address and does not answer as a Ray does."""
    what = "ray.address %s is open, but has not answered as a Ray head for %.0f s; still waiting"
    timer = threading.Timer(_SILENCE_S, _log.warning, (what, address, _SILENCE_S))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def silence_greetings() -> None:
    """Keep from people what Ray says at every start and nobody can do anything about."""
    for name in _GREETINGS:
        logging.getLogger(name).addFilter(_is_no_greeting)


def _is_no_greeting(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_GREETINGS.get(record.name, "\0"))
