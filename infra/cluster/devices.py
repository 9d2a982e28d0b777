"""Says what the nodes of a cluster compute on: GPUs where PyTorch there can use them, else CPUs.

Ray counts the GPUs that a machine has. Whether they are any use is for the node's own PyTorch to
say: a build for CPUs uses none, and a driver may be too old for it. So nodes with GPUs are asked,
in a process that ends with its answer, because CUDA must not be up in one that is forked later.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.cluster.torch_build import TorchBuild, read_torch_build
from infra.errors import ClusterError, ConfigError, Problem

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """What Ray says that a node has."""

    node: str
    host: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class NodeLook:
    """What the PyTorch of a node says: its build, and how many GPUs it can compute on."""

    build: TorchBuild
    usable: int
    why: str = ""
    """What it says where it can use none."""


@dataclass(frozen=True, slots=True)
class NodeDevices:
    """What one node computes on."""

    host: str
    cpus: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Devices:
    """What a cluster, or this machine alone, computes on.

    ``expects_gpus`` says of a cluster that grows that its nodes to come have GPUs; ``build`` is
    this machine's.
    """

    nodes: tuple[NodeDevices, ...]
    where: str = "the cluster"
    expects_gpus: bool = False
    build: TorchBuild | None = None

    @property
    def gpus(self) -> int:
        """Return how many GPUs there are, on all nodes together."""
        return sum(node.gpus for node in self.nodes)

    @property
    def cpus(self) -> int:
        """Return how many logical CPUs there are, on all nodes together."""
        return int(sum(node.cpus for node in self.nodes))

    @property
    def most_gpus(self) -> int:
        """Return the GPUs of the node that has most."""
        return max((node.gpus for node in self.nodes), default=0)

    @property
    def on_gpus(self) -> bool:
        """Tell whether engines and ranks compute on GPUs."""
        return self.gpus > 0 or self.expects_gpus

    def count_places(self, gpus: int) -> int:
        """Return how many engines that span so many GPUs of one node have a place."""
        return sum(node.gpus // gpus for node in self.nodes)

    def describe_gpus(self) -> str:
        """Say how many GPUs there are, and on which nodes, for error messages."""
        count = f"{self.gpus} GPU{'' if self.gpus == 1 else 's'}" if self.gpus else "no GPU"
        sizes = [f"{node.host} has {node.gpus}" for node in self.nodes if node.gpus]
        named = f" ({', '.join(sizes)})" if len(self.nodes) > 1 and sizes else ""
        return f"{self.where} has {count}{named}"


def describe_machine(num_cpus: float) -> Devices:
    """Return what this machine computes on, for a Ray that is to be started here.

    Counts GPUs as PyTorch does, by asking the driver: CUDA stays down in this process.
    """
    build, gpus = read_torch_build(), 0
    if build.kind != "cpu":
        import torch

        gpus = int(torch.cuda.device_count())
    node = NodeDevices(platform.node(), num_cpus, gpus)
    return Devices((node,), where="this machine", build=build)


def list_offers(ray: Any) -> list[NodeOffer]:
    """Return what Ray's living nodes have."""
    return [
        NodeOffer(
            str(node["NodeID"]),
            str(node.get("NodeManagerHostname") or node.get("NodeManagerAddress")),
            float(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def bind_to(node: str, *, soft: bool = False) -> dict[str, Any]:
    """Return the option that keeps a task or an actor to a node, by Ray's id.

    A ``soft`` one goes elsewhere when the node has no room or is gone.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Without the last, a node that is full for the moment would be waited for.
    strategy = NodeAffinitySchedulingStrategy(node, soft=soft, _spill_on_unavailable=soft)
    return {"scheduling_strategy": strategy}


def ask_nodes(ray: Any, offers: Sequence[NodeOffer], timeout_s: float) -> dict[str, NodeLook]:
    """Have the PyTorch of each node say what it can use; by node."""
    if not offers:
        return {}
    from ray.exceptions import GetTimeoutError, RayError

    # It asks for no GPU, so it waits behind nobody, and its process ends with the answer.
    task = ray.remote(max_calls=1, max_retries=0, num_cpus=0, num_gpus=0)(look_around).options
    flights = {offer.node: task(**bind_to(offer.node)).remote() for offer in offers}
    hosts = ", ".join(offer.host for offer in offers)
    try:
        looks = ray.get(list(flights.values()), timeout=timeout_s)
    except GetTimeoutError as error:
        raise ClusterError(
            f"nodes did not say what they compute on within {timeout_s:.0f} s: {hosts}. See"
            " `ray status`."
        ) from error
    except RayError as error:
        raise ClusterError(
            f"a node could not say what it computes on ({hosts}): {error}. Is this project"
            " installed there?"
        ) from error
    return dict(zip(flights, looks, strict=True))


def look_around() -> NodeLook:
    """Say what the PyTorch of this node can use; starts CUDA, so no process forks after it."""
    build = read_torch_build()
    if build.kind == "cpu":
        return NodeLook(build, 0)
    if os.environ.get(_VISIBLE) == "":  # how Ray hides GPUs from a task that asks for none
        del os.environ[_VISIBLE]
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return NodeLook(build, int(usable), "; ".join(str(item.message) for item in told))


def weigh_offers(
    offers: Sequence[NodeOffer], looks: Mapping[str, NodeLook]
) -> tuple[NodeDevices, ...]:
    """Return what each node computes on, by what it has and what its PyTorch can use.

    How many GPUs there are is Ray's to say (a part of them may be set aside, or cut into slices);
    whether they are used is PyTorch's. Raises :class:`ConfigError` where nodes differ in that, for
    Ray would place engines on either kind, and where a build for GPUs cannot use them.
    """
    with_gpus = [offer for offer in offers if offer.gpus and offer.node in looks]
    broken = [
        Problem(
            f"GPUs of {offer.host}",
            f"Ray counts {offer.gpus:g}, but {looks[offer.node].build} can use none: "
            + (looks[offer.node].why or "it says no more"),
            "fix the driver there (nvidia-smi), or start that node with --num-gpus=0",
        )
        for offer in with_gpus
        if looks[offer.node].build.kind != "cpu" and not looks[offer.node].usable
    ]
    if broken:
        raise ConfigError(*broken)
    kinds = {looks[offer.node].build.kind for offer in with_gpus}
    if len(kinds) > 1:
        named = ", ".join(f"{offer.host}: {looks[offer.node].build}" for offer in with_gpus)
        raise ConfigError(
            Problem(
                "ray.address",
                f"nodes with GPUs have different builds ({named})",
                "install the same build on all of them, or start those that are to compute on"
                " CPUs with --num-gpus=0",
            )
        )
    used = kinds - {"cpu"}
    return tuple(
        NodeDevices(offer.host, offer.cpus, int(offer.gpus) if used else 0) for offer in offers
    )


def has_running_ray() -> bool:
    """Tell whether a Ray runs in this process already, which a run would use."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
