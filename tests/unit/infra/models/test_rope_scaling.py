"""Proves that the scaling of positions is found again from the factors it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from infra.models.rope_scaling import compute_factors, find_scaling


def scale(factor: float, context: int, low: float = 1.0, high: float = 4.0) -> dict[str, Any]:
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


@pytest.mark.parametrize(
    ("rope", "theta", "width"),
    [
        (scale(8.0, 8192), 500_000.0, 128),
        (scale(32.0, 8192), 500_000.0, 64),
        (scale(4.0, 4096, 1.0, 2.0), 10_000.0, 128),
    ],
)
def test_parameters_come_back_from_their_factors(
    rope: dict[str, Any], theta: float, width: int
) -> None:
    factors = compute_factors(rope, theta, width)
    assert factors.shape == (width // 2,) and factors[0] == 1 and factors.max() == rope["factor"]
    assert find_scaling(factors, theta) == rope


def test_factors_of_another_kind_are_not_guessed_at() -> None:
    assert find_scaling(np.linspace(1, 9, 64, dtype=np.float32), 500_000.0) is None
