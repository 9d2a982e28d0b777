"""General abilities: a task's metric as lm-evaluation-harness gives it, with its own error."""

from __future__ import annotations

from tasks.measures.measure import MeasureKind

MEASURES = [MeasureKind(name="ability", place=100, label="ability", group="ability", digits=3)]
