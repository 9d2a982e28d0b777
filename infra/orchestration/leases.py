"""Keeps a run alive whose place in Prefect's queue is lost.

A deployment's concurrency limit is a lease that the run renews every few minutes. It is gone after
every pause (Prefect gives the place back and takes none on resuming), after a restart of a server
that keeps leases in memory, and after an outage that outlives it; Prefect then ends the run as
Crashed, whatever it has been doing for days. Two runs on one root keep out of each other's way by
the lock of the root (:mod:`infra.locking.root_lock`), so that no run needs to die for a place in a
queue: Prefect warns, and the run goes on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def outlive_lost_leases() -> None:
    """Have flow runs of this process warn where Prefect would end them for a lost lease.

    Prefect 3.7 has no setting for it; it looks the function up by name in ``prefect.flow_engine``.
    """
    flow_engine: Any = import_module("prefect.flow_engine")
    strict = flow_engine.maintain_concurrency_lease
    if getattr(strict, "outlives", False):
        return

    def maintain(lease_id: Any, lease_duration: float, **_: Any) -> Any:
        return strict(lease_id, lease_duration, raise_on_lease_renewal_failure=False)

    maintain.outlives = True  # type: ignore[attr-defined]
    flow_engine.maintain_concurrency_lease = maintain
