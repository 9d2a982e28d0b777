"""Proves that GPUs count only where PyTorch there can use them, and that unlike nodes are told."""

from __future__ import annotations

import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cluster import devices as devices_module
from infra.cluster.devices import (
    Devices,
    NodeDevices,
    NodeLook,
    NodeOffer,
    describe_machine,
    list_offers,
    look_around,
    weigh_offers,
)
from infra.cluster.session import Cluster, RayConfig
from infra.cluster.torch_build import TorchBuild
from infra.errors import ConfigError, Problem

CUDA = TorchBuild("2.13.0", "cuda", "13.0")
ROCM = TorchBuild("2.13.0+rocm7.1", "rocm", "7.1")
CPU = TorchBuild("2.13.0+cpu", "cpu")


def weigh(*nodes: tuple[float, TorchBuild | None, int]) -> list[int]:
    """Return the GPUs that count of nodes: what Ray offers, the build, what it can use."""
    offers = [NodeOffer(f"n{i}", f"host{i}", 8, gpus) for i, (gpus, _, _) in enumerate(nodes)]
    looks = {
        f"n{i}": NodeLook(build, usable, "the driver is too old")
        for i, (_, build, usable) in enumerate(nodes)
        if build is not None
    }
    return [node.gpus for node in weigh_offers(offers, looks)]


def test_a_build_for_cpus_uses_no_gpu_whatever_ray_counts() -> None:
    assert weigh((1, CPU, 0)) == [0]
    assert weigh((8, CPU, 0), (0, None, 0)) == [0, 0]


def test_how_many_is_rays_to_say_and_whether_at_all_is_pytorchs() -> None:
    assert weigh((2, CUDA, 8)) == [2]  # some are set aside for others
    assert weigh((7, CUDA, 1)) == [7]  # slices of one GPU
    assert weigh((0, None, 0), (4, ROCM, 4), (2, ROCM, 2)) == [0, 4, 2]


def test_gpus_that_no_driver_serves_are_told_with_what_pytorch_said() -> None:
    with pytest.raises(ConfigError, match="host1") as caught:
        weigh((4, CUDA, 4), (2, CUDA, 0))
    (problem,) = caught.value.problems
    assert "the driver is too old" in problem.what and "Ray counts 2" in problem.what


def test_nodes_with_gpus_that_have_different_builds_are_told() -> None:
    with pytest.raises(ConfigError, match="different builds") as caught:
        weigh((4, CUDA, 4), (1, CPU, 0))
    assert "host0: PyTorch 2.13.0, built for CUDA 13.0" in str(caught.value)
    assert "host1: PyTorch 2.13.0+cpu, built for CPUs" in str(caught.value)
    # A head of another build that has no GPU places no engine.
    assert weigh((0, None, 0), (4, CUDA, 4)) == [0, 4]


def test_places_are_on_one_node_each() -> None:
    devices = Devices((NodeDevices("a", 8, 3), NodeDevices("b", 8, 8), NodeDevices("c", 8, 0)))
    assert (devices.gpus, devices.most_gpus, devices.cpus) == (11, 8, 24)
    assert [devices.count_places(span) for span in (1, 2, 4, 16)] == [11, 5, 2, 0]
    assert devices.describe_gpus() == "the cluster has 11 GPUs (a has 3, b has 8)"
    alone = Devices((NodeDevices("a", 8, 1),), where="this machine")
    assert alone.describe_gpus() == "this machine has 1 GPU"


class FakeRay:
    """Has nodes as Ray tells of them."""

    def nodes(self) -> list[dict[str, Any]]:
        """Return one node that lives, and one that does not."""
        alive = {"CPU": 16.0, "GPU": 4.0, "node:10.0.0.1": 1.0}
        return [
            {"NodeID": "a", "Alive": True, "NodeManagerHostname": "big", "Resources": alive},
            {"NodeID": "b", "Alive": False, "NodeManagerHostname": "gone", "Resources": {}},
            {"NodeID": "c", "Alive": True, "NodeManagerHostname": "head", "Resources": {}},
        ]


def test_what_died_offers_nothing() -> None:
    assert list_offers(FakeRay()) == [NodeOffer("a", "big", 16, 4), NodeOffer("c", "head", 0, 0)]


def have_cuda(monkeypatch: pytest.MonkeyPatch, build: TorchBuild, *, driver_serves: bool) -> None:
    """Have a PyTorch of this build that sees two GPUs, as far as they are visible."""

    def is_available() -> bool:
        if not driver_serves:
            warnings.warn("The NVIDIA driver on your system is too old", stacklevel=1)
        return driver_serves

    def device_count() -> int:
        return 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else 2

    cuda = SimpleNamespace(is_available=is_available, device_count=device_count)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(devices_module, "read_torch_build", lambda: build)


def test_a_node_says_what_it_can_use_though_ray_hides_gpus_from_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    have_cuda(monkeypatch, CUDA, driver_serves=True)
    assert look_around() == NodeLook(CUDA, 2)
    have_cuda(monkeypatch, CUDA, driver_serves=False)
    assert look_around() == NodeLook(CUDA, 0, "The NVIDIA driver on your system is too old")
    have_cuda(monkeypatch, CPU, driver_serves=True)
    assert look_around() == NodeLook(CPU, 0)


def test_this_machine_counts_what_is_visible_and_starts_no_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have_cuda(monkeypatch, CUDA, driver_serves=True)
    monkeypatch.delitem(sys.modules["torch"].cuda.__dict__, "is_available")  # would start it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert describe_machine(8).gpus == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert describe_machine(8).gpus == 0
    have_cuda(monkeypatch, CPU, driver_serves=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert describe_machine(8).gpus == 0


def refuse(devices: Devices) -> None:
    raise ConfigError(Problem("training.workers", f"{devices.cpus} CPUs", "take fewer"))


def test_this_machine_is_checked_at_once_and_a_cluster_once_it_is_joined() -> None:
    own = Cluster(RayConfig(num_cpus=3))
    with pytest.raises(ConfigError, match="3 CPUs"):
        own.check_at_start(refuse)
    assert not own.started
    joined = Cluster(RayConfig(address="10.0.0.1:6379"))
    joined.check_at_start(refuse)
    assert not joined.started
