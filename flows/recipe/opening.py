"""Loads and checks a configuration, and opens what its nodes work with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.recipe.checks import check_settings, pass_on_licences, resolve_settings
from flows.recipe.settings import Settings, load_settings
from infra.context import Listener, RunContext
from infra.engines.identity import pin_model
from infra.store.manifests import open_store
from infra.store.storage import Storage


def prepare(config: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Load, resolve and check a configuration; every problem at once, before anything starts."""
    settings = resolve_settings(load_settings(config, overrides))
    check_settings(settings)
    return pass_on_licences(settings)


def open_context(settings: Settings, listener: Listener) -> RunContext:
    """Open what the nodes of a run work with; starts neither Ray nor an engine."""
    storage = Storage(settings.storage.root)
    open_store(storage)
    models = {role: pin_model(model) for role, model in settings.models.items()}
    return RunContext(storage, models, settings.ray, settings.runner, listener)
