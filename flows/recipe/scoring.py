"""Prepares an evaluation of models that are there already, from a configuration and their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flows.recipe.checks import check_scoring
from flows.recipe.evaluation_nodes import list_trained_roles
from flows.recipe.graph import Graph, GraphBuilder
from flows.recipe.opening import resolve_settings
from flows.recipe.settings import Settings, load_settings
from infra.context import RunContext
from infra.engines.config import ModelConfig
from infra.errors import ConfigError, Problem
from infra.paths import find_path
from tasks.evaluation.config import EvaluatedModel
from tasks.records import TUNED

_STAGES = ("evaluation", "report")
_NOBODY = "none"
ABSENT = {"personas": {"source": _NOBODY}, "instructions": {}}
"""What stands for the sections that a configuration without synthesis leaves out."""


def prepare_scoring(
    config: str | Path, models: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Settings:
    """Load, resolve and check a configuration for the evaluation of models.

    Each of ``models`` is a role, ``tuned``, the folder or GGUF file of a model, or the name of one
    that the configuration asks under a prompt of its own; those of the configuration if there are
    none. Raises :class:`ConfigError` with every problem at once.
    """
    settings = load_settings(config, overrides, absent=ABSENT)
    if settings.evaluation is None:
        todo = "add the section, such as the one of configs/demo.yaml"
        raise ConfigError(Problem("evaluation", "this configuration has none", todo))
    settings = resolve_settings(_name_models(settings, models))
    check_scoring(settings)
    return settings


def build_scores(settings: Settings, context: RunContext) -> tuple[Graph, list[str]]:
    """Return the graph of scores and their page, and notes on what is left out of it.

    Raises :class:`ConfigError` for rows that are not made yet: an evaluation makes no training
    data.
    """
    builder, notes = GraphBuilder(settings, context), []
    config = settings.evaluation
    assert config is not None
    if config.attribution is not None and not _has_rows(settings, builder):
        notes.append("attribution is left out: this store has no held-out dialogues of this run")
        alone = config.model_copy(update={"attribution": None})
        settings = settings.model_copy(update={"evaluation": alone})
        builder = GraphBuilder(settings, context)
    graph = builder.build_scores()
    needed = [node for node in graph if node.stage not in _STAGES]
    known = has_synthesis(settings)
    missing = [node.name for node in needed if not known or node.find() is None]
    if missing:
        what = f"needs what is not made yet with this configuration: {', '.join(missing)}"
        todo = (
            "`opencharacter run` it first, name other models with --model, or ask PersonaGym's"
            " questions (evaluation.questions.suite=personagym)"
        )
        raise ConfigError(Problem("evaluate", what, todo))
    return graph, notes


def _has_rows(settings: Settings, builder: GraphBuilder) -> bool:
    return has_synthesis(settings) and builder.curation.find() is not None


def has_synthesis(settings: Settings) -> bool:
    """Tell whether a configuration says how data are made, not only how models are scored."""
    return settings.personas.source != _NOBODY


def _name_models(settings: Settings, models: Sequence[str]) -> Settings:
    """Let an evaluation compare the models that are named, instead of the configured ones."""
    evaluation = settings.evaluation
    assert evaluation is not None
    known, chosen = dict(settings.models), list[EvaluatedModel]()
    prompted = {model.name: model for model in evaluation.models if model.prompt is not None}
    for wanted in models:
        if wanted in prompted:
            chosen.append(prompted[wanted])
            continue
        role, model = _find_model(settings, wanted)
        if model is not None:
            taken = role in known and known[role] != model
            if taken or role == TUNED:
                what = f"would be called {role}, and another model of this evaluation is"
                raise ConfigError(
                    Problem(f"--model {wanted}", what, "rename its folder, or link it")
                )
            known[role] = model
        chosen.append(EvaluatedModel(role=role))
    update = {"models": tuple(dict.fromkeys(chosen))} if chosen else {}
    run = settings.run.model_copy(update={"name": f"{settings.run.name}-evaluation"})
    return settings.model_copy(
        update={"run": run, "models": known, "evaluation": evaluation.model_copy(update=update)}
    )


def _find_model(settings: Settings, wanted: str) -> tuple[str, ModelConfig | None]:
    trained = list_trained_roles(settings)
    if wanted in settings.models or wanted in trained:
        return wanted, None
    path = find_path(wanted)
    if path is None:
        roles = ", ".join([*sorted(settings.models), *sorted(trained, reverse=True)])
        what = "neither a role nor the folder or GGUF file of a model"
        raise ConfigError(Problem(f"--model {wanted}", what, f"roles: {roles}; or a path"))
    role = re.sub("[^A-Za-z0-9.-]+", "-", path.stem if path.is_file() else path.name)
    like = settings.models.get(settings.training.model) if settings.training else None
    if like is None or like.engine != "vllm":
        return role, ModelConfig(model=str(path))
    return role, like.run_export(str(path))
