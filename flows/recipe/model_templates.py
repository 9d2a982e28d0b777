"""Looks at the chat templates of a run before it starts: which turns they take, and whether at all.

Templates of models that are not on this machine yet are looked at when their engine asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.recipe.settings import Settings
from infra.context import read_chat_template
from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_model_folder
from infra.errors import ConfigError, Problem, TemplateRefused
from infra.models.folders import peek_model
from infra.paths import require_path
from infra.rendering.chat_roles import ChatRoles, probe_roles
from infra.rendering.chat_template import ChatTemplate, find_template, read_special_tokens
from infra.rendering.tokenizer_files import TokenizerFiles
from tasks.training.model.generation_settings import name_invalid, read_settings
from tasks.training.rows.templates import choose_format


def check_template(role: str, model: ModelConfig) -> Iterator[Problem]:
    """Yield what keeps a role's model from being asked through its chat template.

    Base models have none.
    """
    where = f"models.{role}.chat_template"
    try:
        if model.chat_template is not None:
            require_path(model.chat_template, where)
        elif model.engine == "vllm" and _lacks_template(peek_model(model.model)):
            yield Problem(
                where,
                f"{model.model} has no chat template of its own, so it cannot be asked",
                "name one that fits its special tokens, as templates/training/llama3.serving.jinja",
            )
            return
    except ConfigError as error:
        # What is wrong with a model is told with the model.
        yield from (item for item in error.problems if item.where == where)
        return
    try:
        find_roles(model)
    except TemplateRefused as error:
        yield Problem(
            where,
            f"the template of {model.model} does not render a question: {error}",
            "name another that fits the model's special tokens, or fix it",
        )


def check_format(base: ModelConfig, template: str) -> Iterator[Problem]:
    """Yield what keeps a base model from being trained in a chat format, by its files."""
    folder = find_model_folder(base)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return
    tokenizer = TokenizerFiles(folder)
    try:
        _ = tokenizer.added_tokens_decoder
    except Exception:  # the tokenizers library raises nothing narrower; told with the model
        return
    try:
        choose_format(tokenizer, template)
    except ConfigError as error:
        yield from error.problems
    except TemplateRefused as error:
        yield Problem("training.template", str(error), "name a template that fits its tokens")


def _lacks_template(folder: Path) -> bool:
    told = (folder / "tokenizer_config.json").is_file()
    return told and find_template(folder) is None


def find_roles(model: ModelConfig) -> ChatRoles | None:
    """Return which turns a model's chat template takes; ``None`` where there is none to look at.

    Raises :class:`TemplateRefused` where it takes none, :class:`ConfigError` for a file that is
    named and not there.
    """
    if model.engine != "vllm":
        return None
    named = read_chat_template(model)
    folder = find_model_folder(model)
    source = named or (find_template(folder) if folder is not None else None)
    if source is None:
        return None
    return probe_roles(
        ChatTemplate(source, read_special_tokens(folder) if folder else {}),
        model.list_template_values(),
    )


def note_models(settings: Settings, asked: Iterable[str]) -> Iterator[str]:
    """Yield what people should know of how the models of a run are spoken to and trained."""
    for role in sorted(asked):
        model = settings.models.get(role)
        try:
            roles = find_roles(model) if model is not None else None
        except (ConfigError, TemplateRefused):
            continue  # told by the checks
        if roles is not None and (told := roles.describe()):
            yield f"models.{role}: its chat template wants it, so {told}"
        if model is not None and model.batch is not None:
            yield (
                f"models.{role}: its rows are asked in batches of the vendor's, within"
                f" {model.batch.window} each; set its price in plan.usd_per_million_tokens to the"
                " vendor's for batches"
            )
    if settings.training is None or settings.training.model not in settings.models:
        return
    base = settings.models[settings.training.model]
    folder = find_model_folder(base)
    if folder is not None and (idle := name_invalid(read_settings(folder))):
        yield (
            f"models.{settings.training.model}: the export leaves out {', '.join(idle)} of its"
            " generation_config.json, which say nothing without do_sample or num_beams"
        )
