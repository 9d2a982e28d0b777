"""Runs general tasks on one model where the cluster has room for it."""

from __future__ import annotations

from collections.abc import Callable

from tasks.evaluation.measures.abilities import AbilitiesConfig, measure_abilities
from tasks.evaluation.measures.task_files import TaskParcel
from tasks.records import Ability


def measure_model(
    model: str,
    revision: str | None,
    config: AbilitiesConfig,
    own: TaskParcel,
    name: str,
    *,
    on_progress: Callable[[int, int], None],
) -> tuple[Ability, ...]:
    """Measure one model's abilities; the harness tells no progress but its end."""
    on_progress(0, 1)
    found = measure_abilities(model, revision, config, own, name)
    on_progress(1, 1)
    return found
