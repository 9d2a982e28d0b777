"""Loads a configuration, and opens what its nodes work with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.recipe.settings import Settings, load_settings
from infra.context import Listener, RunContext
from infra.engines.identity import pin_model
from infra.models.node_cache import bound_cache
from infra.paths import find_path
from infra.secrets.s3_credentials import apply_credentials
from infra.store.manifests import open_store
from infra.store.storage import Storage, is_remote
from tasks.curation.config import AUTO
from tasks.dialogues.config import DialogueConfig
from tasks.dialogues.strategies import STRATEGIES
from tasks.evaluation.config import EvaluationConfig
from tasks.instructions.sources import list_licences


def resolve(config: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Load and resolve a configuration, for those who only look at what it made."""
    return pass_on_licences(resolve_settings(load_settings(config, overrides)))


def prepare(config: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Load, resolve and check a configuration; every problem at once, before anything starts."""
    from flows.recipe.checks import check_settings

    settings = resolve_settings(load_settings(config, overrides))
    check_settings(settings)
    return pass_on_licences(settings)


def open_context(settings: Settings, listener: Listener) -> RunContext:
    """Open what the nodes of a run work with; starts neither Ray nor an engine."""
    storage = Storage(settings.storage.root)
    open_store(storage)
    models = {role: pin_model(model) for role, model in settings.models.items()}
    return RunContext(storage, models, settings.ray, settings.runner, listener)


def resolve_settings(settings: Settings) -> Settings:
    """Make every input path absolute, so that workers anywhere find it; drop what is not read."""
    if settings.storage.credentials is not None:
        apply_credentials(settings.storage.credentials)
    bound_cache(settings.storage.cache_gib)
    models = {
        role: model.model_copy(update={"model": _absolute(model.model)})
        if model.engine == "vllm"
        else model
        for role, model in settings.models.items()
    }
    personas = settings.personas.model_copy(update={"source": _absolute(settings.personas.source)})
    profiles = settings.characters.source and _absolute(settings.characters.source)
    sources = tuple(
        source.model_copy(update={"path": _absolute(source.path)})
        for source in settings.instructions.sources
    )
    instructions = settings.instructions.model_copy(update={"sources": sources})
    dialogues = settings.dialogues
    if dialogues.source is not None:
        dialogues = _bring_dialogues(dialogues, dialogues.source)
        guesses = instructions.synthesis.model_copy(update={"count": 0})
        instructions = instructions.model_copy(update={"sources": (), "synthesis": guesses})
    curation = settings.curation.model_copy(
        update={
            key: _absolute(path)
            for key in ("toxic_words", "decontamination")
            if (path := getattr(settings.curation, key)) not in (None, AUTO)
        }
    )
    return settings.model_copy(
        update={
            "models": models,
            "personas": personas,
            "instructions": instructions,
            "characters": settings.characters.model_copy(update={"source": profiles}),
            "dialogues": dialogues,
            "curation": curation,
            "evaluation": _resolve_evaluation(settings.evaluation),
        }
    )


def _bring_dialogues(dialogues: DialogueConfig, source: str) -> DialogueConfig:
    """Leave out who would play, now that dialogues are given."""
    off = dict.fromkeys(STRATEGIES)
    return dialogues.model_copy(update={"source": _absolute(source), **off})


def pass_on_licences(settings: Settings) -> Settings:
    """Tell the export what the instruction sources' licences are; its own word wins."""
    known = {**list_licences(settings.instructions), **settings.export.licences}
    export = settings.export.model_copy(update={"licences": known})
    return settings.model_copy(update={"export": export})


def _resolve_evaluation(config: EvaluationConfig | None) -> EvaluationConfig | None:
    """Make the paths of inputs absolute; what was not found stays for the checks."""
    if config is None:
        return None
    path = config.questions.path
    questions = config.questions.model_copy(
        update={"path": None if path is None else _absolute(path)}
    )
    judges = tuple(
        judge.model_copy(update={"calibration": judge.calibration and _absolute(judge.calibration)})
        for judge in config.judges
    )
    people = tuple(_absolute(sheet) for sheet in config.people)
    return config.model_copy(update={"questions": questions, "judges": judges, "people": people})


def _absolute(name: str) -> str:
    """Return where a file or folder was found; what was not found stays for the checks."""
    if is_remote(name):
        return name
    found = find_path(name)
    return str(found) if found else name
