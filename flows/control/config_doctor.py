"""Examines a configuration on this machine, and says what to do about each fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flows.recipe.checks import list_asked_roles
from flows.recipe.machine_checks import find_misfits
from flows.recipe.model_templates import note_models
from flows.recipe.opening import prepare
from flows.recipe.retired_models import find_retirements
from infra.cluster.session import describe_own_machine
from infra.errors import OpenCharacterError
from infra.store.storage import Storage


def examine_config(config: str, overrides: Sequence[str]) -> Iterator[tuple[bool | None, str]]:
    """Yield findings as :data:`flows.control.doctor.Finding` has them."""
    try:
        settings = prepare(config, overrides)
    except OpenCharacterError as error:
        yield False, str(error)
        return
    yield True, f"{config} is sound"
    yield True, f"storage root {Storage(settings.storage.root).root} is writable"
    for role, model in settings.models.items():
        yield True, f"model {role}: {model.engine} {model.model}"
    if settings.ray.address is None:
        here = describe_own_machine(settings.ray)
        for problem in find_misfits(settings, settings.models, True, here):
            yield False, str(problem)
    for warning in find_retirements(settings):
        yield not warning.gone, warning.text
    for note in note_models(settings, list_asked_roles(settings)):
        yield True, note
