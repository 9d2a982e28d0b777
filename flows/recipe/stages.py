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

_STAGE_OF = {"guesses": "instructions", "publish": "report"}


def reaches(until: str, stage: str) -> bool:
    """Tell whether a run that ends with ``until`` comes to a stage."""
    return STAGES.index(until) >= STAGES.index(stage)


def stage_of(node: str) -> str:
    """Return the stage of a node that is known by its name only, as in the record of a run."""
    if node in STAGES:
        return node
    if node.startswith("dialogues_"):
        return "dialogues"
    return _STAGE_OF.get(node, "evaluation")
