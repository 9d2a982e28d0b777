"""Says how each measure and task is called and written: its label, its unit, its digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.measures.registry import find_measure_kind, list_names
from tasks.records import TASKS
from tasks.reporting.figures import UNKNOWN, write_number
from tasks.scores import PANEL

MAIN_MEASURES = list_names("main")
"""What a model is trained for; of these the page says in words whether models differ."""

STYLE_MEASURES = list_names("style")


def name_task(task: str) -> str:
    """Return a task's name for people: ``linguistic_habits`` is “Linguistic habits”."""
    return task.replace("_", " ").capitalize() if task in TASKS else task


def name_measure(name: str, judge: str, rubrics: Mapping[str, str]) -> str:
    """Return a measure's label; a PersonaScore by one rubric for all tasks is that rubric's score.

    ``rubrics`` are the names of such rubrics, by judge.
    """
    single = rubrics.get(judge) if name == "persona_score" else None
    return find_measure_kind(name).label if single is None else single


def name_judge(judge: str) -> str:
    """Return a judge's name for people."""
    return "panel of all judges" if judge == PANEL else judge


def write_value(name: str, value: float | None) -> str:
    """Return a measure's value with its unit's digits."""
    return _write(name, value, "%", signed=False)


def write_change(name: str, value: float | None, *, signed: bool = True) -> str:
    """Return a difference of two values; of shares it is in percentage points (pp)."""
    return _write(name, value, "pp", signed=signed)


def write_interval(name: str, low: float | None, high: float | None) -> str:
    """Return the interval of a value, or nothing where there is none."""
    return _join([write_value(name, bound) for bound in (low, high)])


def write_change_interval(name: str, low: float | None, high: float | None) -> str:
    """Return the interval of a difference, or nothing where there is none."""
    return _join([write_change(name, bound) for bound in (low, high)])


def write_difference(name: str, value: float | None) -> str:
    """Return the size of a difference in words: ``0.85 points``, without its sign."""
    text = find_measure_kind(name)
    if value is None:
        return UNKNOWN
    size = abs(value) * (100 if text.kind == "share" else 1)
    return f"{write_number(size, text.digits)} {text.unit}".rstrip()


def _write(name: str, value: float | None, unit: str, *, signed: bool) -> str:
    text = find_measure_kind(name)
    if text.kind == "number" or value is None:
        return write_number(value, text.digits, signed=signed)
    return f"{write_number(100 * value, text.digits, signed=signed)} {unit}"


def _join(bounds: Sequence[str]) -> str:
    """Return two bounds with their unit once, at the end."""
    if UNKNOWN in bounds:
        return ""
    low, high = bounds
    return f"{low.partition(' ')[0]} to {high}"
