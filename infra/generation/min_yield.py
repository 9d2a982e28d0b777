"""Stops a stage that accepts too few rows, early where chance cannot explain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from infra.errors import YieldError

_SIGMAS = 3.0


def check_yield(
    stage: str,
    min_yield: float,
    *,
    accepted: int,
    rows: int,
    reasons: Mapping[str, int],
    samples: Sequence[str],
    early: bool = False,
) -> None:
    """Raise :class:`YieldError` below ``min_yield``, with the commonest reasons and samples.

    ``early`` is for the first rows of a stage: only a share that lies three standard deviations
    below counts.
    """
    if not rows:
        return
    share = accepted / rows
    slack = _SIGMAS * (min_yield * (1 - min_yield) / rows) ** 0.5 if early else 0.0
    if share >= min_yield - slack:
        return
    common = ", ".join(f"{count} × {reason}" for reason, count in Counter(reasons).most_common(4))
    shown = "\n".join(f"  {sample}" for sample in samples[:3])
    raise YieldError(
        f"{stage}: {accepted} of {rows} rows accepted ({share:.0%}), below its min_yield of "
        f"{min_yield:.0%}. Rejected: {common}.\n{shown}\n"
        f"Look at them with `opencharacter show CONFIG rejects`; then fix the prompt, the model "
        f"or the sampling, or lower {stage}'s min_yield."
    )
