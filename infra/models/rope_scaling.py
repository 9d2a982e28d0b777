"""Knows Llama 3.1's scaling of rotary frequencies, as numbers and as the factors GGUF stores.

A GGUF file does not say the scaling's parameters: it has a tensor ``rope_freqs`` of what each
frequency is divided by, which transformers does not read. Both ways between the two stand here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

LLAMA3 = "llama3"
DEFAULT_THETA = 10_000.0
_BOUNDS = ((1.0, 4.0), (1.0, 2.0), (1.0, 8.0), (2.0, 4.0))
"""Low and high frequency factors; all public models have the first."""
_CONTEXTS = tuple(1 << power for power in range(9, 18))


def compute_factors(rope: Mapping[str, Any], theta: float, width: int) -> npt.NDArray[np.float32]:
    """Return by what the scaling divides each of the ``width / 2`` rotary frequencies of a head.

    ``rope`` has factor, low_freq_factor, high_freq_factor, original_max_position_embeddings.
    """
    wavelengths = 2 * math.pi * theta ** (np.arange(0, width, 2, dtype=np.float64) / width)
    factor, low, high = (
        float(rope[name]) for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    old = float(rope["original_max_position_embeddings"])
    smooth = np.clip((old / wavelengths - low) / (high - low), 0, 1)
    factors: npt.NDArray[np.float32] = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
    return factors


def find_scaling(factors: npt.NDArray[Any], theta: float) -> dict[str, Any] | None:
    """Return the parameters that give such factors, or ``None`` if none that are known do."""
    width = 2 * len(factors)
    for low, high in _BOUNDS:
        for context in _CONTEXTS:
            rope = {
                "rope_type": LLAMA3,
                "factor": round(float(factors.max()), 3),
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": context,
            }
            if np.allclose(compute_factors(rope, theta, width), factors, rtol=1e-3):
                return rope
    return None
