"""Keeps Python's collector from looking at all that the tests import, again and again."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

# Machines are shared: what a test proves may not depend on how long it takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

gc.set_threshold(50_000, 20, 100)


def pytest_collection_finish() -> None:
    """Leave out what is there before the first test."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let everything go at the end."""
    gc.unfreeze()
