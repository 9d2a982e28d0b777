"""Writes answers to be rated as Label Studio's tasks, and reads its annotated tasks back.

The format is its plain JSON, a list of tasks (labelstud.io, "Label Studio Task Format"). What a
task says is a row of a sheet, column by column; what people say is read by the name of the control
in the labelling interface: ``score`` (Number or Rating) and ``comment``, or ``preferred`` (Choices
or Pairwise) where the task has ``left`` and ``right``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_VALUES = {"textarea": "text", "pairwise": "selected"}
"""What a control's value is called, where it is not called as the control's type."""


def render_tasks(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return rows of a sheet as tasks to import."""
    tasks = [{"data": dict(row)} for row in rows]
    return json.dumps(tasks, ensure_ascii=False, indent=1).encode()


def read_task(task: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a row of a sheet an annotation; one that was skipped rates nothing."""
    data = {str(name): str(value) for name, value in task["data"].items()}
    for annotation in task.get("annotations") or ():
        results = [] if annotation.get("was_cancelled") else annotation.get("result") or []
        told = {str(one["from_name"]): _read_value(one) for one in results if "from_name" in one}
        yield {**data, **told, "rater": _name_rater(annotation.get("completed_by"))}


def _read_value(result: Mapping[str, Any]) -> str:
    kind = str(result.get("type", ""))
    value = result.get("value", {}).get(_VALUES.get(kind, kind), "")
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _name_rater(completed_by: Any) -> str:
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return "" if completed_by is None else str(completed_by)
