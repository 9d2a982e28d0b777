"""Starts what the end-to-end tests share: a Prefect server, a local Ray, a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.chromium import Page, open_chromium
from tests.e2e.hidden_folders import can_hide
from tests.e2e.prefect_homes import serve_prefect
from tests.e2e.scripted import ScriptedWorld
from tests.e2e.second_machine import find_hindrance

# Ray and vLLM rename their processes, and would write over the environment that tells whose they
# are: see tests/e2e/processes.py.
os.environ.setdefault("SPT_NOENV", "1")


LONGEST = (
    "test_demo", "test_two_machines", "test_training", "test_smollm", "test_deployments",
    "test_clusters_and_calls", "test_chaos", "test_two_runs",
)  # fmt: skip
"""Of two workers that take file after file, both are busy to the end where these come first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the second machine of these tests lacks of one, where it lacks something."""
    hindrance = find_hindrance()
    if hindrance:
        common = "user and network" if can_hide() else "user, network and disk"
        told = f"no second machine here, but a node with the same {common}: {hindrance}"
        terminalreporter.write_line(told, yellow=True)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Prefect server with a database of its own, for this session's flows."""
    with serve_prefect(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real local Ray, used and left running by the flows of this session."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from infra.cluster.local_ray import keep_to_loopback, start_local_ray

    with keep_to_loopback():
        import ray

    start_local_ray(
        ray,
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture
def world(tmp_path: Path, prefect_server: str, ray_cluster: None) -> ScriptedWorld:
    """A small pipeline with a scripted engine, in a folder of its own."""
    return ScriptedWorld.make(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_chromium(tmp_path_factory.mktemp("chromium") / "profile") as page:
        yield page
