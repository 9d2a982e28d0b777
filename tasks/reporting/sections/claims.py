"""Tells which differences the headline may claim once all that it tests are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.measures.multiplicity import correct_by_holm
from tasks.measures.registry import find_measure_kind
from tasks.reporting.measure_names import MAIN_MEASURES
from tasks.scores import Comparison

ALPHA = 0.05
"""Corrected p below which a difference is claimed; the interval is of 95 % accordingly."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Corrected p values of the differences that the headline tests, by key."""

    corrected: Mapping[str, float]

    @property
    def tested(self) -> int:
        """Return how many differences were tested."""
        return len(self.corrected)

    def find_p(self, item: Comparison) -> float | None:
        """Return the corrected p of a difference; ``None`` if it is none of those tested."""
        return self.corrected.get(item.key)

    def holds(self, item: Comparison) -> bool:
        """Tell whether a difference is clear of 0, corrected where the headline tests it."""
        corrected = self.find_p(item)
        return is_clear(item) and (corrected is None or corrected < ALPHA)


def correct_claims(comparisons: Iterable[Comparison]) -> Claims:
    """Correct the p values of all that the headline tests, whether it comes to tell of it or not.

    These are the differences over all tasks in what models are trained for, and in faults.
    """
    tested = {
        item.key: item.p_value
        for item in comparisons
        if item.p_value is not None and _is_tested(item)
    }
    return Claims(dict(zip(tested, correct_by_holm(list(tested.values())), strict=True)))


def is_clear(item: Comparison) -> bool:
    """Tell whether the interval of a difference leaves 0 out."""
    return item.low is not None and item.high is not None and (item.low > 0 or item.high < 0)


def _is_tested(item: Comparison) -> bool:
    return not item.task and (item.name in MAIN_MEASURES or find_measure_kind(item.name).alarms)
