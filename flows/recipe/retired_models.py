"""Says which models of endpoints their vendor has shut down, or soon will, and what to set instead.

The dates lie in one file, ``configs/retired_models.yaml``. Nobody is stopped: whoever has the model
at another address has it still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from types import MappingProxyType
from urllib.parse import urlsplit

import yaml

from flows.recipe.checks import list_asked_roles
from flows.recipe.settings import Settings
from infra.engines.config import ModelConfig
from infra.paths import packaged_configs

_FILE = "retired_models.yaml"
_OPEN = "models with open weights, as in configs/paper/open.yaml"


@dataclass(frozen=True, slots=True)
class Retirement:
    """Day on which a model goes at its vendor's addresses, and what is offered in its place."""

    gone: date
    hosts: tuple[str, ...]
    instead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetirementWarning:
    """What there is to say of a role's model; ``gone`` says that it is shut down already."""

    text: str
    gone: bool


@cache
def load_retirements() -> Mapping[str, Retirement]:
    """Return the table, by the model's name."""
    data = yaml.safe_load((packaged_configs() / _FILE).read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: Retirement(entry["gone"], tuple(vendor["hosts"]), tuple(entry["instead"]))
            for vendor in data["vendors"]
            for name, entry in vendor["models"].items()
        }
    )


def find_retirements(settings: Settings, today: date | None = None) -> Iterator[RetirementWarning]:
    """Yield what there is to say of the models that this run asks."""
    day = today or datetime.now(UTC).date()
    for role in sorted(list_asked_roles(settings) & set(settings.models)):
        model = settings.models[role]
        found = load_retirements().get(model.model)
        if found is None or not _is_at_vendor(model, found):
            continue
        gone = found.gone <= day
        said = "was shut down by its vendor on" if gone else "will be shut down by its vendor on"
        name = f"models.{role}.model"
        instead = " or ".join(f"{name}={other}" for other in found.instead)
        todo = f"set {instead}, another base_url that has it, or {_OPEN}"
        text = f"models.{role}: {model.model} {said} {found.gone.isoformat()} → {todo}"
        yield RetirementWarning(text, gone)


def warn_of_retirements(settings: Settings, today: date | None = None) -> list[str]:
    """Return the warnings alone."""
    return [warning.text for warning in find_retirements(settings, today)]


def _is_at_vendor(model: ModelConfig, found: Retirement) -> bool:
    if model.engine != "endpoint":
        return False
    return (urlsplit(model.base_url or "").hostname or "").lower() in found.hosts
