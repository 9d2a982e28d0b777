"""Finds the measures there are: those of every file of :mod:`tasks.measures.kinds`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from tasks.measures import kinds
from tasks.measures.measure import Group, MeasureKind


def _find_measures() -> dict[str, MeasureKind]:
    names = [found.name for found in iter_modules(kinds.__path__)]
    found: list[MeasureKind] = []
    for name in names:
        found += import_module(f"{kinds.__name__}.{name}").MEASURES
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.place)}


MEASURES: Mapping[str, MeasureKind] = _find_measures()
"""By name, in the order in which they are shown."""


def find_measure_kind(name: str) -> MeasureKind:
    """Return a kind of measure; for one that another version measured, one that says its name."""
    unknown = MeasureKind(name=name, place=len(MEASURES), label=name, group="style", digits=3)
    return MEASURES.get(name, unknown)


def list_names(*groups: Group) -> tuple[str, ...]:
    """Return the names of the measures of some groups, in their order."""
    return tuple(kind.name for kind in MEASURES.values() if kind.group in groups)
