"""Lets one process of a machine make something that all keep, while the others wait for it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def keep_alone(kept: Path) -> Iterator[None]:
    """Hold the lock of what will lie at ``kept``; whoever comes later looks again, inside."""
    with kept.with_name(f".{kept.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
