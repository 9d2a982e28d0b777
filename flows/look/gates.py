"""Holds a comparison of two runs to bounds: a gate passes if the whole interval lies above its own.

A gate is written ``measure=bound``, or ``measure:task@model=bound``. Its bound is in the measure's
own unit: points, nats a token, words, and percentage points for shares.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from infra.errors import ConfigError, OpenCharacterError, Problem
from tasks.measures.measure import CorpusMeasure, MeasureKind
from tasks.measures.registry import MEASURES
from tasks.records import TUNED
from tasks.scores import PANEL, Comparison

OPTION = "--fail-below"
_WRITTEN = re.compile(
    r"(?P<measure>[^:@=]+)(?::(?P<task>[^@=]+))?(?:@(?P<model>.+))?=(?P<bound>.+)"
)
_MINUS = "\u2212"


class GateFailed(OpenCharacterError):
    """End of a comparison whose gates did not all pass, with those that failed."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a difference must be above; ``model`` is empty where nobody named one."""

    text: str
    kind: MeasureKind
    task: str
    model: str
    bound: float


class GateOutcome(BaseModel):
    """What came of a gate; figures are in ``unit``, the measure's own."""

    model_config = ConfigDict(frozen=True)

    measure: str
    task: str
    judge: str
    model: str
    against: str
    unit: str
    difference: float
    low: float
    high: float
    bound: float
    passed: bool

    def __str__(self) -> str:
        """Return it as one line: measure, difference, interval, bound, passed or failed."""
        what = f"{self.measure} {self.task}".strip().replace("_", " ")
        by = f" by {self.judge}" if self.judge else ""
        return (
            f"gate {what}{by}: {self.model} {_MINUS} {self.against} {self.difference:+.4g} "
            f"{self.unit}, 95 % interval {self.low:+.4g} … {self.high:+.4g}, "
            f"bound {self.bound:g}: {'passed' if self.passed else 'failed'}"
        )


def read_gates(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Read gates as they are written; :class:`ConfigError` lists all that are none."""
    gates: list[Gate] = []
    problems: list[Problem] = []
    for text in texts:
        found = _read_gate(text)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            gates.append(found)
    if problems:
        raise ConfigError(*problems)
    return tuple(gates)


def check_gates(comparisons: Sequence[Comparison], gates: Iterable[Gate]) -> list[GateOutcome]:
    """Hold the differences of one role's models in both runs to their bounds.

    The model is the tuned one, unless the gate names another or the runs share only one; the judge
    is the panel where there are several. Raises :class:`ConfigError` where there is no such
    difference, or no interval of it.
    """
    outcomes: list[GateOutcome] = []
    problems: list[Problem] = []
    for gate in gates:
        found = _find_difference(comparisons, gate)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            outcomes.append(_check(gate, found))
    if problems:
        raise ConfigError(*problems)
    return outcomes


def require_passed(outcomes: Sequence[GateOutcome]) -> None:
    """Raise :class:`GateFailed` with the gates that did not pass."""
    failed = [str(outcome) for outcome in outcomes if not outcome.passed]
    if failed:
        count = f"{len(failed)} of {len(outcomes)} gate{'' if len(outcomes) == 1 else 's'} failed"
        raise GateFailed("\n".join([count, *failed]))


def _read_gate(text: str) -> Gate | Problem:
    where = f"{OPTION} {text}"
    found = _WRITTEN.fullmatch(text.strip())
    bound = _read_number(found["bound"]) if found else None
    if found is None or bound is None:
        todo = "write a measure and a number, such as persona_score=-0.2 or attribution=-5"
        return Problem(where, "is no measure=number", todo)
    kind = MEASURES.get(found["measure"])
    if kind is None or isinstance(kind, CorpusMeasure) or kind.alarms:
        what = "has no interval: it is of all answers at once"
        if kind is None or kind.alarms:
            what = "no such measure" if kind is None else "is a fault: it is worse when it rises"
        compared = [
            one.name
            for one in MEASURES.values()
            if not isinstance(one, CorpusMeasure) and not one.alarms
        ]
        return Problem(where, what, f"take one of {', '.join(compared)}")
    return Gate(text, kind, found["task"] or "", found["model"] or "", bound)


def _read_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _find_difference(comparisons: Sequence[Comparison], gate: Gate) -> Comparison | Problem:
    where = f"{OPTION} {gate.text}"
    named = [item for item in comparisons if item.name == gate.kind.name]
    own = [item for item in named if item.task == gate.task]
    if not own:
        tasks = ", ".join(sorted({item.task for item in named if item.task}))
        what = "was not measured in both runs, or its judges cannot be paired"
        if tasks:
            return Problem(where, "is measured task by task", f"name one after a colon: {tasks}")
        return Problem(where, what, "compare runs that were evaluated alike")
    pairs = {role: item for item in _choose_judge(own) if (role := _find_role(item))}
    role = gate.model or (TUNED if TUNED in pairs else next(iter(pairs), ""))
    if role not in pairs or (not gate.model and role != TUNED and len(pairs) > 1):
        known = ", ".join(f"{gate.kind.name}@{name}=…" for name in pairs)
        what = f"no model {role} in both runs" if gate.model else "which model of both runs?"
        return Problem(
            where, what if pairs else "the runs share no model", known or "see the table"
        )
    item = pairs[role]
    if item.mean is None:
        return Problem(where, f"the runs share no row of {role}", "compare what was asked alike")
    if item.low is None or item.high is None:
        what = f"{item.clusters} persona has no interval"
        return Problem(where, what, "evaluate two personas or more")
    return item


def _choose_judge(items: Sequence[Comparison]) -> list[Comparison]:
    """Return those of the panel, or of the only judge there is."""
    return [item for item in items if item.judge == PANEL] or list(items)


def _find_role(item: Comparison) -> str:
    """Return the role that both models have in their runs; nothing if they have not the same."""
    ours, theirs = (name.partition(":")[2] for name in (item.model, item.against))
    return ours if ours == theirs else ""


def _check(gate: Gate, item: Comparison) -> GateOutcome:
    share = gate.kind.kind == "share"
    scale = 100.0 if share else 1.0
    low, high, mean = (scale * value for value in (item.low or 0, item.high or 0, item.mean or 0))
    return GateOutcome(
        measure=gate.kind.name,
        task=item.task,
        judge=item.judge,
        model=item.model,
        against=item.against,
        unit=gate.kind.unit,
        difference=mean,
        low=low,
        high=high,
        bound=gate.bound,
        passed=low >= gate.bound,
    )
