"""Finds the strategies there are: one for every file of :mod:`tasks.dialogues.players`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from tasks.dialogues import players
from tasks.dialogues.config import DialogueConfig, StrategyConfig
from tasks.dialogues.playing import Strategy


def _find_strategies() -> dict[str, Strategy]:
    names = sorted(found.name for found in iter_modules(players.__path__))
    found = [import_module(f"{players.__name__}.{name}").STRATEGY for name in names]
    return {strategy.name: strategy for strategy in found}


STRATEGIES: Mapping[str, Strategy] = _find_strategies()
"""By the name that a configuration calls them."""


def choose_strategies(config: DialogueConfig) -> dict[str, StrategyConfig]:
    """Return the knobs of the strategies that a run uses, by name."""
    chosen = {name: getattr(config, name, None) for name in STRATEGIES}
    return {name: knobs for name, knobs in chosen.items() if isinstance(knobs, StrategyConfig)}
