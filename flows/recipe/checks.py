"""Checks what a configuration asks for against the machine and the data, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from flows.recipe.evaluation_checks import (
    check_evaluation,
    check_judges,
    list_evaluation_roles,
)
from flows.recipe.model_templates import check_format, check_template
from flows.recipe.placeholders import explain_missing
from flows.recipe.prices import price_engine_hour
from flows.recipe.settings import Settings
from infra.context import context_length
from infra.engines.config import ModelConfig
from infra.engines.identity import read_context_length
from infra.engines.opening import endpoint_settings, read_endpoint_secrets, read_script
from infra.errors import ConfigError, Problem, TemplateRefused
from infra.models.folders import peek_model
from infra.models.soundness import find_model_faults
from infra.paths import require_path
from infra.rendering.encoder import count_plain_tokens
from infra.rendering.prompts import PromptTemplate
from infra.store.storage import Storage, is_remote
from tasks.characters.config import CharacterConfig
from tasks.characters.sources import check_character_source
from tasks.dialogues.config import StrategyConfig
from tasks.dialogues.sources import check_dialogue_source
from tasks.dialogues.strategies import STRATEGIES, choose_strategies
from tasks.instructions.config import InstructionSynthesisConfig
from tasks.instructions.sources import check_instruction_sources
from tasks.personas.sources import check_persona_source
from tasks.publishing.nodes import check_publishing
from tasks.training.model.gguf_fitness import find_gguf_problems
from tasks.training.ranks.deepspeed_config import load_deepspeed_config
from tasks.training.rows.batching import least_ranks, plan_batches

_Asking = CharacterConfig | StrategyConfig | InstructionSynthesisConfig

_PROMPT_NEEDS = {
    "characters.prompt": (("persona",),),
    **{
        f"dialogues.{name}.prompt": (("persona", "profile"), (strategy.shows,))
        for name, strategy in STRATEGIES.items()
    },
    "instructions.synthesis.prompt": (("persona",),),
    "curation.prompt": (("persona", "profile"),),
}
"""Of each group one value at least must show: without it every row would be asked the same."""

_PROMPT_VALUES = {
    "characters.prompt": {"persona", "structured"},
    **{
        f"dialogues.{name}.prompt": {"persona", "profile", strategy.shows}
        for name, strategy in STRATEGIES.items()
    },
    "instructions.synthesis.prompt": {"persona"},
    "curation.prompt": {"persona", "profile"},
}


def check_settings(settings: Settings) -> None:
    """Raise :class:`ConfigError` with every problem that can be found without an engine."""
    plays = settings.dialogues.source is None
    trains = settings.training is not None
    _refuse(
        settings,
        [
            *_check_root(settings),
            *check_persona_source(settings.personas),
            *(check_instruction_sources(settings.instructions) if plays else ()),
            *check_character_source(settings.characters),
            *check_dialogue_source(
                settings.dialogues, own_profiles=settings.characters.source is not None
            ),
            *_check_roles(settings),
            *_check_prompts(settings),
            *_check_counts(settings),
            *check_budget(settings),
            *_check_training(settings),
            *check_evaluation(settings),
            *_collect(lambda: check_publishing(settings.publish, trains=trains)),
            *_check_models(
                settings,
                list_asked_roles(settings),
                settings.training.model if settings.training is not None else None,
            ),
            *_check_contexts(settings),
        ],
    )


def check_scoring(settings: Settings) -> None:
    """Raise :class:`ConfigError` with every problem of an evaluation of models that are there."""
    roles = set(list_evaluation_roles(settings).values())
    problems = [*_check_root(settings), *check_budget(settings), *check_evaluation(settings)]
    _refuse(settings, [*problems, *_check_models(settings, roles, None)])


def check_judging(settings: Settings) -> None:
    """Raise :class:`ConfigError` with every problem of the judges, whatever else is evaluated."""
    config = settings.evaluation
    assert config is not None
    roles = {judge.model for judge in config.judges}
    problems = [*_check_root(settings), *check_budget(settings), *check_judges(config)]
    _refuse(settings, [*problems, *_check_models(settings, roles, None)])


def _refuse(settings: Settings, problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigError(*explain_missing(settings, list(dict.fromkeys(problems))))


def _check_root(settings: Settings) -> Iterator[Problem]:
    yield from _collect(lambda: Storage(settings.storage.root).check_writable())


def _check_models(
    settings: Settings, roles: Collection[str], base: str | None
) -> Iterator[Problem]:
    """Check the models that are asked, and the base of a training that is to be done."""
    for role in sorted(roles):
        if role in settings.models:
            yield from check_template(role, settings.models[role])
    for role in sorted({*roles, *([base] if base is not None else [])}):
        if role in settings.models:
            yield from _check_model(
                f"models.{role}", settings.models[role], served=role in roles, trained=role == base
            )


def list_asked_roles(settings: Settings) -> set[str]:
    """Return the roles of `models` that this run asks."""
    roles = {stage.model for stage in _list_asking(settings).values()}
    return roles | set(list_evaluation_roles(settings).values())


def _list_asking(settings: Settings) -> dict[str, _Asking]:
    """Return the stages of this run that ask a model, by their key in the configuration."""
    stages: dict[str, _Asking | None] = {
        "characters": settings.characters if settings.characters.source is None else None,
        **{
            f"dialogues.{name}": knobs
            for name, knobs in choose_strategies(settings.dialogues).items()
        },
        "instructions.synthesis": (
            settings.instructions.synthesis if settings.instructions.synthesis.count else None
        ),
    }
    return {key: stage for key, stage in stages.items() if stage is not None}


def _check_roles(settings: Settings) -> Iterator[Problem]:
    for key, stage in _list_asking(settings).items():
        if stage.model not in settings.models:
            known = ", ".join(sorted(settings.models)) or "none"
            what = f"names a model {stage.model!r} that is not configured"
            yield Problem(f"{key}.model", what, f"known: {known}")
    chosen = settings.dialogues
    if not chosen.source and not choose_strategies(chosen):
        yield Problem("dialogues", "every strategy is off", "set dialogues.generate={}")


def _check_prompts(settings: Settings) -> Iterator[Problem]:
    prompts = {f"{key}.prompt": stage.prompt for key, stage in _list_asking(settings).items()}
    prompts["curation.prompt"] = settings.curation.prompt
    for key, name in prompts.items():
        try:
            template = PromptTemplate.load(require_path(name, key))
        except ConfigError as error:
            yield from error.problems
            continue
        unknown = template.variables() - _PROMPT_VALUES[key]
        if unknown:
            yield Problem(
                f"{key} ({name})",
                f"uses {', '.join(sorted(unknown))}, which nobody fills in",
                f"known values: {', '.join(sorted(_PROMPT_VALUES[key]))}",
            )
        else:
            yield from _check_shown(f"{key} ({name})", template, _PROMPT_NEEDS[key])


def _check_shown(
    where: str, template: PromptTemplate, needs: tuple[tuple[str, ...], ...]
) -> Iterator[Problem]:
    """Render a prompt once: it must come to an end, and show what its rows differ in."""
    try:
        missing = [group for group in needs if not template.shows(*group)]
    except TemplateRefused as error:
        yield Problem(where, f"cannot be rendered: {error}", "fix the template")
        return
    for group in missing:
        what = f"never shows {' or '.join(group)}, so that every row would be asked the same"
        yield Problem(where, what, " or ".join(f"write {{{{ {name} }}}}" for name in group))


def _check_counts(settings: Settings) -> Iterator[Problem]:
    asked, sample = settings.dialogues.characters_per_question, settings.personas.sample
    plays = settings.dialogues.source is None
    if plays and sample is not None and asked > sample:
        yield Problem(
            "dialogues.characters_per_question",
            f"{asked} characters a question, but personas.sample is {sample}",
            "raise personas.sample or lower characters_per_question",
        )


def _check_training(settings: Settings) -> Iterator[Problem]:
    """Check what of training can be known without loading a model or a tokenizer."""
    config = settings.training
    if config is None:
        return
    yield from _collect(lambda: plan_batches(config, least_ranks(config)))
    if config.workers == "auto" and settings.ray.grows:
        what = "auto counts the GPUs that are there, and this cluster grows (ray.grows)"
        yield Problem("training.workers", what, "say how many ranks are to train")
    yield from _collect(lambda: load_deepspeed_config(config.deepspeed))
    yield from _collect(lambda: require_path(config.card, "training.card"))
    model = settings.models.get(config.model)
    if model is None:
        known = ", ".join(sorted(settings.models)) or "none"
        what = f"names a model {config.model!r} that is not configured"
        yield Problem("training.model", what, f"known: {known}; or set training=null")
        return
    if model.engine != "vllm":
        what = f"an {model.engine} cannot be fine-tuned here"
        yield Problem("training.model", what, "name a model folder or a Hugging Face name")
        return
    yield from check_format(model, config.template)
    with suppress(ConfigError):  # told with the model
        if config.gguf != "none":
            yield from find_gguf_problems(peek_model(model.model))
        own = read_context_length(peek_model(model.model))
        if own and config.max_length > own:
            yield Problem(
                "training.max_length",
                f"{config.max_length} tokens, but the model was made for {own}",
                f"at most {own}",
            )


def _check_model(
    where: str, model: ModelConfig, *, served: bool, trained: bool
) -> Iterator[Problem]:
    if model.engine == "scripted":
        try:
            read_script(model)
        except TypeError as error:
            yield Problem(f"{where}.script", str(error), "see infra/engines/scripted.py")
    elif model.engine == "endpoint":
        yield from _collect(lambda: endpoint_settings(model))
        yield from _collect(lambda: read_endpoint_secrets(model))
    else:
        yield from _check_folder(where, model, served=served, trained=trained)


def _check_folder(
    where: str, model: ModelConfig, *, served: bool, trained: bool
) -> Iterator[Problem]:
    try:
        folder = peek_model(model.model)
    except ConfigError as error:
        yield from (
            Problem(f"{where}.model: {item.where}", item.what, item.todo) for item in error.problems
        )
        return
    looks_local = model.model.startswith((".", "/", "~")) or model.model.count("/") > 1
    if not folder.is_dir():
        if looks_local:
            yield Problem(
                f"{where}.model",
                f"no such folder: {model.model}",
                f"give a model folder (looked in {Path.cwd()} and the packaged configs) or a "
                "Hugging Face name",
            )
        return
    faults = list(
        find_model_faults(
            folder, served=served, trained=trained, weights=not is_remote(model.model)
        )
    )
    if faults:
        yield from (
            Problem(f"{where}.model", f"{model.model}: {one.what}", one.todo) for one in faults
        )
        return
    try:
        own = read_context_length(folder)
    except ConfigError as error:
        yield from error.problems
        return
    if model.max_model_len and own and model.max_model_len > own:
        yield Problem(
            f"{where}.max_model_len",
            f"{model.max_model_len} tokens, but the model was made for {own}",
            f"at most {own}",
        )


def _check_contexts(settings: Settings) -> Iterator[Problem]:
    """Compare each context with the answer's budget plus what every prompt of the stage holds."""
    for key, stage in _list_asking(settings).items():
        model = settings.models.get(stage.model)
        if model is None or model.engine != "vllm":
            continue
        try:
            context = context_length(model)
            floor = _count_fixed_tokens(peek_model(model.model), stage.prompt)
        except (ConfigError, OSError, TemplateRefused):
            continue  # told with the model, or with the prompt
        budget = stage.max_new_tokens + model.max_thought_tokens
        if context is not None and floor + budget >= context:
            thought = ", thoughts included," if model.max_thought_tokens else ""
            yield Problem(
                f"{key}.max_new_tokens",
                f"{budget} tokens for the answer{thought} and {floor} for the prompt's own "
                f"words leave no room for a persona in a context of {context}",
                f"lower it well below {context - floor}, or raise "
                f"models.{stage.model}.max_model_len",
            )


def _count_fixed_tokens(folder: Path, prompt: str) -> int:
    """Count the tokens of a prompt whose values are all empty."""
    template = PromptTemplate.load(require_path(prompt, "prompt"))
    messages = template.render(dict.fromkeys(template.variables(), ""))
    return count_plain_tokens(folder, "\n".join(item.content for item in messages)) or 0


def _collect(check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except ConfigError as error:
        yield from error.problems


def check_budget(settings: Settings) -> list[Problem]:
    """Return what keeps a budget from being kept: a bound on cost of what has no price."""
    if settings.budget.max_cost is None:
        return []
    unpriced = [
        (f"plan.usd_per_million_tokens.{role}", role)
        for role, model in settings.models.items()
        if model.engine == "endpoint" and role not in settings.plan.usd_per_million_tokens
    ]
    hourly = [role for role, model in settings.models.items() if model.engine == "vllm"]
    if price_engine_hour(settings) is None and (hourly or settings.training is not None):
        unpriced.append(("plan.usd_per_engine_hour", ", ".join(hourly) or "training"))
    return [
        Problem("budget.max_cost", f"nothing says what {what} costs", f"set {key}")
        for key, what in unpriced
    ]
