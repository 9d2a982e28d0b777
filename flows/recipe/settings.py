"""Composes a run's configuration from YAML and ``--set``, and finds every problem at once.

A file may go on from another one: ``extends: shared.yaml`` names it, from its own folder.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flows.recipe.plan_config import PlanConfig
from infra.cluster.session import RayConfig
from infra.engines.config import ModelConfig
from infra.errors import ConfigError, Problem
from infra.generation.runner_config import RunnerConfig
from infra.knobs import Knobs, execution, group
from infra.locking.root_lock import OtherRuns
from infra.orchestration.retries import RetryConfig
from infra.paths import require_path
from infra.yaml_reading import DoubledKey, read_yaml
from tasks.characters.config import CharacterConfig
from tasks.curation.config import CurationConfig
from tasks.dialogues.config import DialogueConfig
from tasks.evaluation.config import EvaluationConfig
from tasks.export.config import ExportConfig
from tasks.instructions.config import InstructionConfig
from tasks.personas.config import PersonaConfig
from tasks.publishing.config import PublishConfig
from tasks.reporting.config import ReportConfig
from tasks.training.config import TrainingConfig

_EXTENDS = "extends"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_NAME = 100


class RunConfig(Knobs):
    """Knobs of a run: its name, and whether a person is asked before training."""

    name: str = execution(
        "",
        description="Run folder under <root>/runs; the config's file name if left out",
    )
    approve_before_training: bool = execution(
        False, description="Show the plan and sample rows, and ask a person, before training"
    )
    other_runs: OtherRuns = execution(
        "wait",
        description="While another run writes below the same root: wait for its end, refuse to"
        " run, or ignore it, where nothing else starts runs there",
    )


class StorageConfig(Knobs):
    """Place where everything is kept."""

    root: str = execution("data", description="A local folder, ~ included, or s3://bucket/prefix")
    credentials: str | None = execution(
        None,
        description="Where S3 credentials and endpoint are, as prefect:secret-block; null for the"
        " standard AWS variables",
    )
    cache_gib: float | None = execution(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Most GiB of models, token and task files that a machine keeps in its cache;"
        " null: what OPENCHARACTER_CACHE_GIB says there, or else half of its disk",
    )


class BudgetConfig(Knobs):
    """Bounds of what one start of a run may spend; all it made is kept, and the next goes on."""

    max_tokens: int | None = execution(
        None, ge=1, description="Prompt and answer tokens of all models; null: no bound"
    )
    max_hours: float | None = execution(
        None, gt=0, description="Hours on the clock; null: no bound"
    )
    max_cost: float | None = execution(
        None,
        gt=0,
        description="USD, by the prices of `plan`, engines and ranks by the hour; null: no bound",
    )


class Settings(Knobs):
    """The whole configuration of a run, one model a stage."""

    run: RunConfig = group(RunConfig, description="The run itself")
    storage: StorageConfig = group(StorageConfig, description="Where rows are kept")
    models: dict[str, ModelConfig] = group(description="The models, by the role stages name")
    personas: PersonaConfig = group(description="Personas: source, cleaning, sample")
    instructions: InstructionConfig = group(description="Questions: sources and synthesis")
    characters: CharacterConfig = group(CharacterConfig, description="Profiles")
    dialogues: DialogueConfig = group(DialogueConfig, description="Pairing and strategies")
    curation: CurationConfig = group(CurationConfig, description="Filters, split, SFT rows")
    export: ExportConfig = group(ExportConfig, description="Data set files and card")
    training: TrainingConfig | None = group(
        None, description="Fine-tuning; {} for the paper's settings, null for none"
    )
    evaluation: EvaluationConfig | None = group(
        None, description="Models compared on questions in character; null for none"
    )
    report: ReportConfig = group(ReportConfig, description="The page at the end")
    publish: PublishConfig = group(PublishConfig, description="Pushing to a hub; off by default")
    plan: PlanConfig = group(PlanConfig, description="What `plan` estimates with")
    budget: BudgetConfig = group(BudgetConfig, description="What one start of a run may spend")
    runner: RunnerConfig = group(RunnerConfig, description="How row stages are carried out")
    ray: RayConfig = group(RayConfig, description="Where Ray runs")
    retry: RetryConfig = group(RetryConfig, description="Retries of nodes")


def load_settings(
    config: str | Path,
    overrides: Sequence[str] = (),
    absent: Mapping[str, Any] | None = None,
) -> Settings:
    """Read a YAML file, apply ``a.b=c`` overrides, and validate.

    ``absent`` stands for sections that the file leaves out. Raises :class:`ConfigError` with every
    unknown key, wrong type and missing value.
    """
    path = require_path(str(config), "CONFIG")
    data = {**copy.deepcopy(absent or {}), **_read_layers(path, ())}
    origins = _apply_overrides(data, overrides)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*_explain(error, path, origins)) from error
    if settings.run.name:
        check_run_name("run.name", settings.run.name)
        return settings
    if fault := find_name_fault(path.stem):
        what = f"its name is the run's, and {fault}"
        raise ConfigError(Problem(f"CONFIG {path}", what, "rename it, or set run.name"))
    named = settings.run.model_copy(update={"name": path.stem})
    return settings.model_copy(update={"run": named})


def check_run_name(where: str, name: str) -> None:
    """Raise :class:`ConfigError` for a name that is not to become a folder below the root."""
    fault = find_name_fault(name)
    if fault is None and not _NAME.fullmatch(name):
        fault = "holds other characters than letters, digits, dot, dash and underscore"
    if fault is not None:
        raise ConfigError(Problem(where, f"{name[:80]!r} {fault}", "such as my-run.2"))


def find_name_fault(name: str) -> str | None:
    """Return why a name would be no good folder, even where odd letters are allowed."""
    if name.startswith((".", "-")):
        return "begins with a dot or a dash"
    if len(name.encode()) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} bytes"
    if not name.isprintable() or "/" in name or name != name.strip():
        return "holds characters that no folder should"
    return None


def dump_settings(settings: Settings) -> str:
    """Return the resolved configuration as YAML; it holds where keys are, never keys."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_layers(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Read a file over the one it extends: mappings are merged, all else is replaced."""
    try:
        data = read_yaml(path.read_text(encoding="utf-8-sig")) or {}
    except DoubledKey as error:
        raise ConfigError(Problem(str(path), str(error), "keep one of them")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(str(path), f"not YAML: {error}", "fix the syntax")) from error
    except OSError as error:
        todo = "give a YAML file, readable by you; a store's folder goes with --root"
        raise ConfigError(Problem(str(path), f"cannot be read: {error.strerror}", todo)) from error
    if not isinstance(data, dict):
        raise ConfigError(Problem(str(path), "not a mapping of keys", "see configs/demo.yaml"))
    if _EXTENDS not in data:
        return data
    name, where = data.pop(_EXTENDS), f"{path}: {_EXTENDS}"
    if not isinstance(name, str):
        raise ConfigError(Problem(where, "is no file name", "name one file, such as shared.yaml"))
    beside = path.parent / name
    base = beside.resolve() if beside.is_file() else require_path(name, where)
    if base in (path, *above):
        raise ConfigError(Problem(where, f"{name} extends this file again", "break the circle"))
    return _merge(_read_layers(base, (path, *above)), data)


def _merge(base: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in data.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> set[str]:
    """Set each dotted key in place and return the keys; values are read as YAML."""
    keys: set[str] = set()
    problems: list[Problem] = []
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key.strip():
            problems.append(Problem(f"--set {override}", "not of the form a.b=c", "add a ="))
            continue
        try:
            parsed = read_yaml(value)
        except DoubledKey as error:
            problems.append(Problem(f"--set {key}", str(error), "keep one of them"))
            continue
        except yaml.YAMLError as error:
            problems.append(Problem(f"--set {key}", f"value is not YAML: {error}", "quote it"))
            continue
        *parents, last = key.strip().split(".")
        target = data
        for parent in parents:
            child = target.get(parent)
            if child is None:
                child = target[parent] = {}
            if not isinstance(child, dict):
                todo = f"set {parent} as a whole, for example --set '{parent}=[…]'"
                problems.append(Problem(f"--set {key}", f"{parent} has no keys below it", todo))
                break
            target = child
        else:
            target[last] = parsed
            keys.add(key.strip())
    if problems:
        raise ConfigError(*problems)
    return keys


def _explain(error: ValidationError, path: Path, origins: set[str]) -> Iterator[Problem]:
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        said = any(key == origin or key.startswith(f"{origin}.") for origin in origins)
        where = f"--set {key}" if said else f"{path}: {key}"
        yield Problem(where, _say_what(detail), _say_todo(detail))


def _say_what(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    if detail["type"] == "missing":
        return "missing"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail.get("input")
    shown = "" if isinstance(given, dict) else f" (given: {str(given)[:80]!r})"
    return f"{message}{shown}"


def _say_todo(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        *parents, last = [str(part) for part in detail["loc"]]
        known = _known_keys(Settings, parents)
        close = difflib.get_close_matches(last, known, n=1)
        return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    if detail["type"] == "missing":
        return "give it in the file, or with --set"
    return "fix the value; `opencharacter doctor CONFIG` lists all keys of a section"


def _known_keys(model: type[BaseModel], parents: Sequence[str]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(parent)
        if field is None:
            continue
        inner = [
            item
            for item in (field.annotation, *get_args(field.annotation))
            if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        if inner:
            model = inner[0]
    return sorted(model.model_fields)
