"""Has vLLM's processes sleep while they wait for each other.

An engine's core and its worker pass every step over shared memory, and whoever waits for the other
asks again without a pause until a second has gone by without any step: always, while rows are made.
Beside GPUs that costs a core that nobody needs. On CPUs it takes the core from those who compute,
who then wait for each other. vLLM's own wait for the next message, which it falls back to when
idle, does without.
"""

from __future__ import annotations

import time
from typing import Any

_SETTLED_S = 2.0
"""Until both sides have subscribed to each other, they ask as vLLM does."""
_LOOK_AGAIN_MS = 200
"""Longest sleep: should a message ever be lost, it costs no more than this."""


def sleep_while_waiting() -> None:
    """Have the message queues that this process opens from now on sleep instead of spin."""
    from vllm.distributed.device_communicators import shm_broadcast

    spinning: Any = shm_broadcast.SpinCondition
    if getattr(spinning, "sleeps", False):
        return

    class SleepingCondition(spinning):  # type: ignore[misc]
        """One side's wait for the other side of a queue."""

        sleeps = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._settled = time.monotonic() + _SETTLED_S

        def wait(self, timeout_ms: int | None = None) -> None:
            """Wait for the next message, or return early to have the caller look again."""
            if time.monotonic() > self._settled:
                self.busy_loop_s = 0.0
            most = _LOOK_AGAIN_MS if timeout_ms is None else min(timeout_ms, _LOOK_AGAIN_MS)
            super().wait(most)

    shm_broadcast.SpinCondition = SleepingCondition  # type: ignore[misc]
