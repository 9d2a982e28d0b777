"""Finds the model a person means: the tuned one of a configuration, a role, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.recipe.graph import GraphBuilder
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet
from infra.engines.config import ModelConfig
from infra.errors import ConfigError, Problem
from infra.models.folders import fetch_export
from infra.paths import find_path


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """Model with the name that people call it by."""

    name: str
    config: ModelConfig


def choose_model(settings: Settings, wanted: str | None) -> ChosenModel:
    """Return the model to speak with: the tuned one, a role of ``models``, or a model folder."""
    if wanted is None:
        return ChosenModel(
            settings.run.name, configure_folder(settings, find_tuned_model(settings))
        )
    if wanted in settings.models:
        return ChosenModel(wanted, settings.models[wanted])
    folder = find_path(wanted)
    if folder is not None and (folder / "config.json").is_file():
        return ChosenModel(folder.name, configure_folder(settings, folder))
    roles = ", ".join(sorted(settings.models))
    raise ConfigError(
        Problem(
            f"--model {wanted}",
            "neither a role nor a model folder",
            f"roles: {roles}; or the path of a folder with config.json; or leave it out for the "
            "tuned model",
        )
    )


def find_tuned_model(settings: Settings) -> Path:
    """Return a local folder of the model that this configuration trained.

    Raises :class:`ConfigError` where it has not been trained yet, or its files have changed.
    """
    with open_context(settings, Quiet()) as context:
        node = GraphBuilder(settings, context).training
        found = node.find() if node else None
        if found is None:
            what = (
                "this configuration trains no model"
                if node is None
                else f"no model at {context.storage.root} was trained with it yet"
            )
            roles = ", ".join(sorted(settings.models))
            todo = f"`opencharacter run` it first, or choose --model: {roles}"
            raise ConfigError(Problem("tuned model", what, todo))
        return fetch_export(context.storage, str(found.facts["export"]))


def configure_folder(settings: Settings, folder: Path) -> ModelConfig:
    """Run a folder as the configuration runs the base model, which has the same shape."""
    like = settings.models.get(settings.training.model) if settings.training else None
    if like is None or like.engine != "vllm":
        return ModelConfig(model=str(folder))
    return like.run_export(str(folder))
