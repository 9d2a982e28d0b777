"""Passes on what engines inside workers have to say: retries, a dialect that was learnt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.engine_pool import Replica

_EVERY_S = 2.0
_TIMEOUT_S = 2.0


class EngineTalk:
    """Line from the engines of a stage to who watches the run; only endpoints have any."""

    def __init__(self, replicas: Sequence[Replica], tell: Callable[[str, str], None]) -> None:
        self._replicas = [replica for replica in replicas if replica.engine is None]
        self._tell = tell
        self._asked_s = 0.0
        self.facts: dict[str, Any] = {}
        """What the engines say of their endpoint; for the manifest."""

    def listen(self, *, last: bool = False) -> None:
        """Ask the engines now and then, and pass on what they say; a dead one says nothing."""
        now = time.monotonic()
        if not self._replicas or (not last and now - self._asked_s < _EVERY_S):
            return
        self._asked_s = now
        import ray
        from ray.exceptions import RayError

        for replica in self._replicas:
            with suppress(RayError):
                notes, facts = ray.get(replica.worker.tell.remote(), timeout=_TIMEOUT_S)
                self.facts |= facts
                for note in notes:
                    self._tell(replica.model, note)
