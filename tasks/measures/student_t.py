"""Computes quantiles of Student's t from its exact distribution function.

scipy is none of this project's dependencies; a dozen lines of continued fraction give the same
digits.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_PRECISE = 1e-15
_MOST_TERMS = 10_000


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """Return the t below which a share of ``probability`` lies, with ``degrees`` of freedom.

    Raises :class:`ValueError` unless the probability is between 0 and 1 and the degrees positive.
    """
    if not 0.0 < probability < 1.0 or not degrees > 0.0:
        raise ValueError(f"no t quantile at {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1.0 - probability, degrees)
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < probability:
        low, high = high, 2.0 * high
    while (middle := 0.5 * (low + high)) not in (low, high):
        if t_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return high


def t_probability(t: float, degrees: float) -> float:
    """Return the probability of a value up to ``t``."""
    whole = degrees + t * t
    tail = 0.5 * _incomplete_beta(degrees / whole, t * t / whole, 0.5 * degrees, 0.5)
    return 1.0 - tail if t >= 0.0 else tail


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b); ``rest`` is 1 - x, exactly."""
    if x <= 0.0:
        return 0.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side only
        return 1.0 - _incomplete_beta(rest, x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(scale + a * math.log(x) + b * math.log(rest)) / a
    return front * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function by Lentz's method."""
    value, numerator, denominator = 1.0, 1.0, 0.0
    for term in range(_MOST_TERMS):
        half = term // 2
        if term == 0:
            factor = 1.0
        elif term % 2 == 0:
            factor = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            factor = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        denominator = 1.0 / _away_from_zero(1.0 + factor * denominator)
        numerator = _away_from_zero(1.0 + factor / numerator)
        step = numerator * denominator
        value *= step
        if abs(step - 1.0) < _PRECISE:
            break
    return value - 1.0


def _away_from_zero(number: float) -> float:
    return number if abs(number) > _TINY else _TINY
