"""Writes numbers as people read them: fixed digits, real minus signs, a dash for the unknown."""

from __future__ import annotations

import math

UNKNOWN = "–"
MINUS = "\N{MINUS SIGN}"

_MINUTE_S, _HOUR_S = 60.0, 3600.0


def write_count(value: int) -> str:
    """Return a count with its thousands set apart."""
    return f"{value:,}"


def write_number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Return a number with fixed digits; a dash for ``None`` and for what is not finite."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    # A rounded zero has no sign.
    rounded = round(value, digits) or 0.0
    text = f"{abs(rounded):,.{digits}f}"
    if rounded < 0:
        return f"{MINUS}{text}"
    return f"+{text}" if signed and rounded > 0 else text


def write_share(value: float | None, digits: int = 1) -> str:
    """Return a share as per cent."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{write_number(100 * value, digits)} %"


def write_p(value: float | None) -> str:
    """Return a p value; what is below a thousandth is said to be so."""
    if value is None:
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def write_seconds(value: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if value < 2 * _MINUTE_S:
        return f"{value:.1f} s"
    if value < 2 * _HOUR_S:
        return f"{value / _MINUTE_S:.1f} min"
    return f"{value / _HOUR_S:,.1f} h"


def write_dollars(value: float) -> str:
    """Return an amount in USD; below ten cents with the digits that say something."""
    if value == 0 or value >= 0.1:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= 0.0001 else "< $0.0001"
