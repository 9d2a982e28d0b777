"""Keeps Python's collector from looking at all that the tests import, again and again."""

from __future__ import annotations

import gc

gc.set_threshold(50_000, 20, 100)


def pytest_collection_finish() -> None:
    """Leave out what is there before the first test."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let everything go at the end."""
    gc.unfreeze()
