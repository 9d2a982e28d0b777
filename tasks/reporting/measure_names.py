"""Says how each measure and task is called and written: its label, its unit, its digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tasks.records import EvalTask
from tasks.reporting.figures import UNKNOWN, write_number
from tasks.scores import PANEL, MeasureName

TASKS: tuple[EvalTask, ...] = get_args(EvalTask)

MAIN_MEASURES: tuple[MeasureName, ...] = (
    "persona_score",
    "attribution",
    "attribution_hard",
    "profile_gain",
    "profile_margin",
)
"""What a model is trained for; of these the page says in words whether models differ."""

STYLE_MEASURES: tuple[MeasureName, ...] = (
    "words",
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "opening_share",
    "opening_entropy",
    "self_similarity",
    "refusals",
    "ai_admissions",
    "stops",
)


@dataclass(frozen=True, slots=True)
class MeasureText:
    """How a measure is called, and what a difference of it is counted in."""

    label: str
    kind: Literal["number", "share"]
    digits: int
    unit: str


def describe_measure(name: MeasureName) -> MeasureText:
    """Return how a measure is called and written."""
    match name:
        case "persona_score":
            return MeasureText("PersonaScore", "number", 2, "points")
        case "score":
            return MeasureText("task score", "number", 2, "points")
        case "attribution":
            return MeasureText("attribution, random candidates", "share", 1, "percentage points")
        case "attribution_hard":
            return MeasureText("attribution, alike candidates", "share", 1, "percentage points")
        case "profile_gain":
            return MeasureText("gain from the profile", "number", 3, "nats a token")
        case "profile_margin":
            return MeasureText("margin over other profiles", "number", 3, "nats a token")
        case "refusals":
            return MeasureText("refusals", "share", 1, "percentage points")
        case "ai_admissions":
            return MeasureText("admits to be an AI", "share", 1, "percentage points")
        case "stops":
            return MeasureText("ends by itself", "share", 1, "percentage points")
        case "words":
            return MeasureText("words an answer", "number", 1, "words")
        case "distinct_1" | "distinct_2" | "distinct_3":
            return MeasureText(name.replace("_", "-"), "number", 3, "")
        case "opening_share":
            return MeasureText("commonest opening", "share", 1, "percentage points")
        case "opening_entropy":
            return MeasureText("spread of openings", "number", 3, "")
        case "self_similarity":
            return MeasureText("self-similarity", "number", 3, "")
        case "ability":
            return MeasureText("ability", "number", 3, "")


def name_task(task: str) -> str:
    """Return a task's name for people: ``linguistic_habits`` is “Linguistic habits”."""
    return task.replace("_", " ").capitalize() if task in TASKS else task


def name_judge(judge: str) -> str:
    """Return a judge's name for people."""
    return "panel of all judges" if judge == PANEL else judge


def write_value(name: MeasureName, value: float | None) -> str:
    """Return a measure's value with its unit's digits."""
    return _write(name, value, "%", signed=False)


def write_change(name: MeasureName, value: float | None, *, signed: bool = True) -> str:
    """Return a difference of two values; of shares it is in percentage points (pp)."""
    return _write(name, value, "pp", signed=signed)


def write_interval(name: MeasureName, low: float | None, high: float | None) -> str:
    """Return the interval of a value, or nothing where there is none."""
    return _join([write_value(name, bound) for bound in (low, high)])


def write_change_interval(name: MeasureName, low: float | None, high: float | None) -> str:
    """Return the interval of a difference, or nothing where there is none."""
    return _join([write_change(name, bound) for bound in (low, high)])


def write_difference(name: MeasureName, value: float | None) -> str:
    """Return the size of a difference in words: ``0.85 points``, without its sign."""
    text = describe_measure(name)
    if value is None:
        return UNKNOWN
    size = abs(value) * (100 if text.kind == "share" else 1)
    return f"{write_number(size, text.digits)} {text.unit}".rstrip()


def _write(name: MeasureName, value: float | None, unit: str, *, signed: bool) -> str:
    text = describe_measure(name)
    if text.kind == "number" or value is None:
        return write_number(value, text.digits, signed=signed)
    return f"{write_number(100 * value, text.digits, signed=signed)} {unit}"


def _join(bounds: Sequence[str]) -> str:
    """Return two bounds with their unit once, at the end."""
    if UNKNOWN in bounds:
        return ""
    low, high = bounds
    return f"{low.partition(' ')[0]} to {high}"
