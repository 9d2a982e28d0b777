"""Tests the choice of attention kernels."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tasks.training.ranks.weights import choose_attention


@pytest.mark.parametrize(
    ("installed", "kernel"), [(True, "flash_attention_2"), (False, "flex_attention")]
)
def test_gpus_get_a_kernel_for_variable_lengths(
    monkeypatch: pytest.MonkeyPatch, installed: bool, kernel: str
) -> None:
    found: Any = object() if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert choose_attention("auto", on_gpu=True) == kernel
    assert choose_attention("auto", on_gpu=False) == "sdpa"


def test_what_is_asked_for_is_taken() -> None:
    assert choose_attention("eager", on_gpu=True) == "eager"
