"""Lists the phases of the teacher's training: which tasks how often, for how long, how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of the training; ``shares`` says how often each task comes.

    ``constant`` is the share of the phase before the rate begins to fall to ``final``.
    """

    shares: Mapping[str, int]
    tokens: int
    rate: float
    constant: float
    final: float


FIRST = Phase(
    {"character": 26, "generate": 24, "rewrite": 17, "judge": 21, "instruction": 7, "drill": 5},
    tokens=5_000_000,
    rate=4e-3,
    constant=0.55,
    final=0.03,
)
"""After it answers in voice are perfect, but profiles draw their personality by chance (0.09)."""

SLOW_SKILLS = Phase(
    {"character": 33, "generate": 7, "rewrite": 13, "judge": 32, "instruction": 8, "drill": 7},
    tokens=3_200_000,
    rate=3e-3,
    constant=0.45,
    final=0.03,
)
"""After it all is well but the judge: it reads out what was wanted and what was seen without a
fault, and then says yes or no by chance."""

COMPARING = Phase(
    {"character": 5, "generate": 3, "rewrite": 4, "judge": 30, "instruction": 3, "drill": 55},
    tokens=900_000,
    rate=3e-3,
    constant=0.9,
    final=0.5,
)
"""Drills the comparison of two words."""

BALANCE = Phase(
    {"character": 20, "generate": 13, "rewrite": 18, "judge": 30, "instruction": 6, "drill": 13},
    tokens=1_600_000,
    rate=3e-3,
    constant=0.3,
    final=0.02,
)
"""Ends on a balanced mix with a falling rate, as the last task would else cost the others."""

PHASES = (FIRST, SLOW_SKILLS, COMPARING, BALANCE)
