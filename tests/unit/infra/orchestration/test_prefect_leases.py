"""Proves that a lost place in Prefect's queue ends no run."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from infra.orchestration.leases import outlive_lost_leases

_SECONDS = 10.0


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Prefect's flow engine, whose leases can never be renewed."""
    from prefect import flow_engine
    from prefect.concurrency import _leases

    def lose(*_: Any) -> None:
        raise RuntimeError("Lease not found - it may have expired or been revoked")

    monkeypatch.setattr(_leases, "_lease_renewal_loop", lose)
    original = _leases.maintain_concurrency_lease  # another test may have imported our flows
    monkeypatch.setattr(flow_engine, "maintain_concurrency_lease", original)
    return flow_engine


def test_prefect_alone_ends_a_run_that_lost_its_lease(engine: Any) -> None:
    """Without us, so that a Prefect that is kinder is noticed and this module can go."""
    assert "raise_on_lease_renewal_failure=True" in inspect.getsource(engine)
    assert not _goes_on(engine.maintain_concurrency_lease)


def test_a_run_goes_on_without_its_lease(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    outlive_lost_leases()
    outlive_lost_leases()
    assert _goes_on(engine.maintain_concurrency_lease)
    assert "Execution will continue" in caplog.text


def test_a_deployed_flow_is_protected_by_being_imported() -> None:
    from prefect import flow_engine

    import flows.deployments

    assert flows.deployments.pipeline.name == "pipeline"
    assert flow_engine.maintain_concurrency_lease.outlives  # type: ignore[attr-defined]


def _goes_on(maintain: Callable[..., Any]) -> bool:
    """Tell whether what stands under a lease is left alone when the lease is lost."""
    ended: list[bool] = []

    def run() -> None:
        try:
            with maintain(uuid4(), 300, raise_on_lease_renewal_failure=True):
                for _ in range(20):
                    time.sleep(0.05)
        except BaseException:
            ended.append(False)
        else:
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(_SECONDS)
    return ended == [True]
