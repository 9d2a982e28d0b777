"""Proves which cores an engine computes on, and that people's own choice stands."""

from __future__ import annotations

import os

import pytest

from infra.engines.cpu_threads import (
    BINDING,
    SMALLEST_ON_ALL_CORES,
    bind_engine,
    choose_binding,
)

REAL = SMALLEST_ON_ALL_CORES


@pytest.mark.parametrize(
    ("parameters", "cores", "expected"),
    [
        (REAL, {3, 0}, "0,3"),
        (REAL, set(range(8)), "0,1,2,3,4,5,6,7"),
        (REAL, set(range(9)), None),
        (REAL, {0}, None),
        (REAL - 1, {0, 1}, None),
        (None, {0, 1}, None),
    ],
)
def test_real_models_get_all_of_few_cores(
    parameters: int | None, cores: set[int], expected: str | None
) -> None:
    assert choose_binding(parameters, frozenset(cores)) == expected


def test_what_people_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setenv(BINDING, "1")
    bind_engine(REAL)
    assert os.environ[BINDING] == "1"
    monkeypatch.delenv(BINDING)
    bind_engine(REAL)
    assert os.environ[BINDING] == "0,1"
