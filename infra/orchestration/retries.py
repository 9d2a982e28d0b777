"""Says how a node is tried again, without loading Prefect."""

from __future__ import annotations

from infra.knobs import Knobs, execution


class RetryConfig(Knobs):
    """How a node is tried again after a transient error."""

    retries: int = execution(3, ge=0, description="How often a node is tried again")
    first_delay_s: float = execution(
        10.0, ge=0, description="Wait before the first retry in seconds; doubles each time"
    )
