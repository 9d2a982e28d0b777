"""Keeps workers made in tests where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from infra.generation.stage_worker import Job
from infra.store.storage import Storage
from tests.unit.infra.generation.workers import make_job


@pytest.fixture(autouse=True)
def _stay_in_the_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker leaves the terminal's process group; the test process must not."""
    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    yield


@pytest.fixture
def job(storage: Storage) -> Job:
    return make_job(storage)
