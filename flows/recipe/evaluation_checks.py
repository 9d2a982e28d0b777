"""Checks what evaluation asks for before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from flows.recipe.evaluation_nodes import list_trained_roles
from flows.recipe.settings import Settings
from infra.errors import ConfigError, Problem
from infra.paths import require_path
from tasks.evaluation.answering import require_system_prompt
from tasks.evaluation.config import OWN_LINE, EvaluationConfig, JudgeConfig, QuestionConfig
from tasks.evaluation.judging.calibration import read_labelled
from tasks.evaluation.judging.nodes import load_judging
from tasks.evaluation.judging.sheet_files import digest_sheets
from tasks.evaluation.measures.abilities import check_abilities
from tasks.evaluation.measures.published import EVERY, list_recipes
from tasks.evaluation.questions.personagym import check_checkout, read_line
from tasks.evaluation.questions.writing import QUESTION_VALUES, SETTINGS_VALUES, load_settings
from tasks.evaluation.subjects import REWORDED, read_answer_prompt, read_prompt
from tasks.records import CONTROL, TUNED

_WHERE = "evaluation"


def list_evaluation_roles(settings: Settings) -> dict[str, str]:
    """Return the roles that evaluation asks, by the key of the configuration that names them."""
    config = settings.evaluation
    if config is None:
        return {}
    roles = {
        f"{_WHERE}.models.{model.name}": model.role
        for model in config.models
        if model.role not in list_trained_roles(settings)
    }
    roles |= {f"{_WHERE}.judges.{judge.model}": judge.model for judge in config.judges}
    if config.questions.suite == "generated":
        if config.questions.settings is not None:
            roles[f"{_WHERE}.questions.settings.model"] = config.questions.settings.model
        roles[f"{_WHERE}.questions.writing.model"] = config.questions.writing.model
    return roles


def check_evaluation(settings: Settings) -> Iterator[Problem]:
    """Yield every problem that can be found without an engine."""
    config = settings.evaluation
    if config is None:
        return
    yield from _check_roles(settings)
    yield from _check_names(config)
    yield from _check_control(settings, config)
    yield from _check_questions(settings, config.questions)
    yield from _check_answer_prompts(config)
    yield from check_judges(config)
    yield from _collect(lambda: digest_sheets(config.people))
    yield from check_abilities(config.abilities)
    known = [*list_recipes(), EVERY]
    if config.published is not None and config.published not in known:
        what = f"the paper has no recipe {config.published!r}"
        yield Problem(f"{_WHERE}.published", what, f"known: {', '.join(known)}; or null")


def note_prompts(settings: Settings) -> Iterator[str]:
    """Yield a line where PersonaGym's own line is asked for and its checkout does not hold it."""
    config = settings.evaluation
    if config is None or OWN_LINE not in map(config.find_prompt, config.models):
        return
    folder = Path(str(config.questions.path))
    if read_line(folder) is None:
        yield (
            f"{folder} is part of a checkout, without code/utils.py: models that are asked under"
            f" PersonaGym's line are asked under ours of the same meaning, {REWORDED}"
        )


def _check_roles(settings: Settings) -> Iterator[Problem]:
    for where, role in list_evaluation_roles(settings).items():
        if role in settings.models:
            continue
        if role in (TUNED, CONTROL):
            what, todo = "this run trains no model", f"set training={{}}, or leave `{role}` out"
        else:
            what = f"names a model {role!r} that is not configured"
            todo = f"known: {', '.join(sorted(settings.models)) or 'none'}"
        yield Problem(where, what, todo)


def _check_answer_prompts(config: EvaluationConfig) -> Iterator[Problem]:
    """Find prompts that are not there or are no system prompts, and one that has two names."""
    found: dict[tuple[str, str], str] = {}
    for model in config.models:
        name = config.find_prompt(model)
        own = f"{_WHERE}.models.{model.name}.prompt"
        where = f"{_WHERE}.answers.prompt" if model.prompt is None else own
        try:
            prompt = require_system_prompt(read_answer_prompt(name, config.questions, where))
        except ConfigError as error:
            yield from error.problems
            continue
        same = found.setdefault((model.role, prompt.source), model.name)
        if same != model.name:
            what = f"is the prompt that {same} answers under: {model.role} would be asked it twice"
            yield Problem(where, what, "leave one of the two out, or name another prompt")


def _check_names(config: EvaluationConfig) -> Iterator[Problem]:
    """Find names that run together to one: of a judge ``a`` on ``b_c``, and ``a_b`` on ``c``."""
    named: dict[str, list[str]] = {}
    for judge in config.judges:
        for name in config.names:
            told = f"{judge.model} on {name}"
            named.setdefault(f"judgements_{judge.model}_{name}", []).append(told)
    for name, pairs in named.items():
        if len(pairs) > 1:
            what = f"two nodes would be called {name}: {', and '.join(pairs)}"
            yield Problem(f"{_WHERE}.judges", what, "rename one of these models")


def _check_control(settings: Settings, config: EvaluationConfig) -> Iterator[Problem]:
    training = settings.training
    wanted = CONTROL in config.roles and CONTROL in list_trained_roles(settings)
    if wanted and training is not None and training.control != "none":
        what = "the run's own model is a control already, so this one would be the same"
        yield Problem(f"{_WHERE}.models.{CONTROL}", what, "set training.control=none")


def _check_questions(settings: Settings, config: QuestionConfig) -> Iterator[Problem]:
    where = f"{_WHERE}.questions"
    if config.suite == "personagym":
        yield from check_checkout(Path(str(config.path)), f"{where}.path")
        return
    if (config.unseen or config.suite == "held_out") and not settings.curation.validation_share:
        yield Problem(
            "curation.validation_share",
            "nobody is held out of training, so there are no unseen characters to ask",
            f"raise it, or set {where}.unseen=false with {where}.suite=generated",
        )
    if config.suite == "held_out":
        return
    if config.settings is not None:
        chosen = config.settings
        yield from _check_prompt(chosen.prompt, f"{where}.settings.prompt", SETTINGS_VALUES)
        path = chosen.settings
        yield from _collect(lambda: load_settings(require_path(path, f"{where}.settings.settings")))
    yield from _check_prompt(config.writing.prompt, f"{where}.writing.prompt", QUESTION_VALUES)


def _check_prompt(name: str, where: str, values: frozenset[str]) -> Iterator[Problem]:
    try:
        template = read_prompt(name)
    except ConfigError as error:
        yield from error.problems
        return
    unknown = template.variables() - values
    if unknown:
        what = f"uses {', '.join(sorted(unknown))}, which nobody fills in"
        yield Problem(f"{where} ({name})", what, f"known values: {', '.join(sorted(values))}")


def check_judges(config: EvaluationConfig) -> Iterator[Problem]:
    """Yield every problem of the judges' prompts, rubrics and labelled rows."""
    for judge in config.judges:
        yield from _check_judge(judge, config.questions)


def _check_judge(judge: JudgeConfig, questions: QuestionConfig) -> Iterator[Problem]:
    yield from _collect(lambda: load_judging(judge, questions))
    if judge.calibration is not None:
        path = judge.calibration
        yield from _collect(lambda: read_labelled(path))


def _collect(check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except ConfigError as error:
        yield from error.problems
