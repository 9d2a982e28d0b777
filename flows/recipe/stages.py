"""Names the stages of a run in order."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal[
    "personas",
    "instructions",
    "characters",
    "dialogues",
    "curation",
    "export",
    "encoding",
    "training",
    "evaluation",
    "report",
]
"""What ``--from`` and ``--until`` take; nodes of one stage, as two strategies, start together."""

STAGES: tuple[str, ...] = get_args(Stage)


def reaches(until: str, stage: str) -> bool:
    """Tell whether a run that ends with ``until`` comes to a stage."""
    return STAGES.index(until) >= STAGES.index(stage)
