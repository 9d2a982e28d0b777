"""Loads once what every command needs, so that the first situation is as quick as the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    pass


@pytest.fixture(autouse=True)
def no_server() -> Iterator[None]:
    """A server that is not there: a command that comes so far as to ask it has not said enough."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield


@pytest.fixture(autouse=True)
def no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a command starts outlives it here; a reaper lives as long as the tests."""
    monkeypatch.setattr("infra.cluster.reaper.reap_children", nullcontext)
