"""Corrects p values for how many of them were looked at."""

from __future__ import annotations

from collections.abc import Sequence


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return p values such that of all that are below 0.05 one is wrong in one family of twenty.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure": the smallest of n is
    multiplied by n, the next by n - 1, and so on; none is below one before it, none above 1. It
    holds however the tests hang together, as judges of the same answers do.
    """
    corrected = [1.0] * len(p_values)
    reached = 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = reached
    return corrected
