"""Passes on what engines inside workers have to say: retries, a dialect that was learnt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.engines.batch.allowance import Allowance
    from infra.generation.engine_pool import Replica

_START_S = 60.0
_HALT_S = 10.0
_EVERY_S = 2.0
_TIMEOUT_S = 2.0


class EngineTalk:
    """Line from the engines of a stage to who watches the run; only endpoints have any."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        tell: Callable[[str, str], None],
        allowance: Callable[[str], Allowance | None] = lambda _: None,
    ) -> None:
        self._replicas = [replica for replica in replicas if replica.engine is None]
        self._tell, self._allowance = tell, allowance
        self._asked_s = 0.0
        self.facts: dict[str, Any] = {}
        """What the engines say of their endpoint; for the manifest."""

    def begin(self) -> None:
        """Say what the budget leaves before the first row begins."""
        for replica in self._replicas:
            self._allow(replica, _START_S)

    def listen(self, *, last: bool = False) -> None:
        """Ask the engines now and then, and pass on what they say; a dead one says nothing."""
        now = time.monotonic()
        if not self._replicas or (not last and now - self._asked_s < _EVERY_S):
            return
        self._asked_s = now
        import ray
        from ray.exceptions import RayError

        for replica in self._replicas:
            self._allow(replica, _TIMEOUT_S)
            with suppress(RayError):
                notes, facts = ray.get(replica.worker.tell.remote(), timeout=_TIMEOUT_S)
                self.facts |= facts
                for note in notes:
                    self._tell(replica.model, note)

    def halt(self) -> tuple[str, bool]:
        """Have engines send nothing ahead any more.

        Returns what goes on elsewhere, and whether rows are at work here that may soon finish.
        """
        import ray
        from ray.exceptions import RayError

        told, busy = [], not self._replicas
        for replica in self._replicas:
            with suppress(RayError):
                goes_on, at_work = ray.get(replica.worker.halt.remote(), timeout=_HALT_S)
                told += [goes_on] if goes_on else []
                busy = busy or at_work
        return "; ".join(told), busy or not told

    def _allow(self, replica: Replica, timeout_s: float) -> None:
        allowance = self._allowance(replica.model)
        if allowance is None:
            return
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):
            ray.get(replica.worker.allow.remote(allowance), timeout=timeout_s)
