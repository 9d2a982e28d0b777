"""Proves how many threads a rank computes with."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from infra.cluster import ray_train

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("cores", "ranks", "threads"), [(6, 2, 3), (4, 1, 4), (2, 4, 1)])
def test_ranks_share_the_cores_of_the_machine_that_they_are_on(
    cores: int, ranks: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    place = SimpleNamespace(get_local_world_size=lambda: ranks)
    monkeypatch.setattr("ray.train.get_context", lambda: place)
    try:
        ray_train._share_cores()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
