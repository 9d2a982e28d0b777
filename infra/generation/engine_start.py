"""Waits for an engine: for a place, for its model to come there, and until it is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from infra.cluster.session import Cluster
from infra.engines.vllm.server import EngineFacts
from infra.errors import ClusterError, ConfigError, EngineError

_ASK_EVERY_S = 10.0
_GB = 1e9


def await_engine(
    cluster: Cluster, name: str, engine: Any, start: Any, tell: Callable[[str], None]
) -> EngineFacts:
    """Return the facts of an engine actor whose ``start`` was called, once that returns.

    ``ray.placement_timeout_s`` is for finding a place and for loading: while a model comes from
    S3 or a hub, which may take an hour, the clock stands still, and ``tell`` hears how far it is.

    Raises :class:`ClusterError` when the time is up, :class:`ConfigError` and :class:`EngineError`
    where the engine cannot start.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    timeout_s = cluster.config.placement_timeout_s
    deadline, here = time.monotonic() + timeout_s, 0
    asked: Any | None = engine.measure_brought.remote()
    try:
        while not ray.wait([start], timeout=_ASK_EVERY_S)[0]:
            if asked is not None and ray.wait([asked], timeout=0)[0]:
                come, total = here, here + 1
                with suppress(RayTaskError):  # a look that failed says nothing of the start
                    come, total = ray.get(asked)
                asked = engine.measure_brought.remote() if come < total else None
                if come > here:
                    tell(f"its model comes to its node: {come / _GB:.1f} of {total / _GB:.1f} GB")
                    deadline, here = time.monotonic() + timeout_s, come
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"engine {name} was not up after {timeout_s:.0f} s. "
                    f"Free on the cluster: {cluster.describe_free()}. Ask for fewer replicas or "
                    "GPUs, free some, or raise ray.placement_timeout_s."
                )
        facts: EngineFacts = ray.get(start)
    except RayTaskError as error:
        if isinstance(error.cause, ConfigError):
            raise error.cause from error
        raise EngineError(str(error.cause or error)) from error
    except RayActorError as error:
        raise EngineError(f"engine {name} died while it started: {error}") from error
    return facts
