"""Measures with lm-evaluation-harness what learning to play roles cost a model elsewhere.

The harness is an optional extra and this is its only door. A task is one of its own, by name, or a
YAML file of the user's in its format; relative data files of such a file are looked up beside it,
so that a task can be moved and run from anywhere.

Weights are loaded as for attribution: bf16 on a GPU, spread over all that are visible, fp32 on a
CPU. The harness seeds the generators of its process and draws progress bars, so a flow gives it a
process of its own.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from infra.errors import ConfigError, Problem
from infra.knobs import Knobs, execution, identity, selection
from infra.models.folders import fetch_model
from infra.paths import find_path
from infra.store.fingerprints import content_key, hash_parts
from tasks.records import Ability

_WHERE = "evaluation.abilities.tasks"
_YAML = (".yaml", ".yml")
_DATA = ("data_files", "data_dir")
_INSTALL = "pip install 'opencharacter[abilities]'"
_DECLARED = re.compile(
    r"^[\"']?(?:task|group|tag)[\"']?[ \t]*:(.*)$"
    r"|^[ \t]*-[ \t]+(?:(?:task|group)[ \t]*:[ \t]*)?([^\s#]+)[ \t]*$",
    re.MULTILINE,
)
_SEPARATOR = re.compile(r"[\[\],\s]+")


class AbilitiesConfig(Knobs):
    """Knobs of the general abilities that are measured; without tasks, none."""

    tasks: tuple[str, ...] = selection(
        (),
        description="Tasks of lm-evaluation-harness by name (tasks, groups or tags), or paths of "
        "task YAML files or of folders of them; a path has a slash or ends in .yaml",
    )
    limit: int | None = selection(
        None, ge=1, description="Rows of each task, its first ones; null: all"
    )
    num_fewshot: int | None = identity(
        None,
        ge=0,
        description="Examples in the prompt; null: as each task says. A task whose file says 0 "
        "keeps 0",
    )
    apply_chat_template: bool = identity(
        False,
        description="Ask in the model's chat format; false is what published figures mostly use",
    )
    batch_size: int = execution(8, ge=1, description="Rows that a model is given at once")


@dataclass(frozen=True, slots=True)
class LocalTask:
    """Task file of the user's.

    Attributes:
        name: What it calls the task.
        path: Where it is.
        dataset: The fields that say where its data is, with absolute paths.
        files: All local files it is made of: itself, what it includes, code beside it, data.
    """

    name: str
    path: Path
    dataset: Mapping[str, Any]
    files: tuple[Path, ...]


def check_abilities(config: AbilitiesConfig) -> list[Problem]:
    """Find what would keep the tasks from being run: no harness, no such task, a broken file.

    Data sets on the hub are not asked for.
    """
    if not config.tasks:
        return []
    if find_spec("lm_eval") is None:
        return [Problem(_WHERE, "lm-evaluation-harness is not installed", _INSTALL)]
    try:
        find_local_tasks(config)
    except ConfigError as error:
        return list(error.problems)
    named = _list_named(config)
    # The whole index takes 12 s, so it is only asked about names that a quick look did not find.
    return _find_unknown(named, _open_manager(named, None)) if _find_doubtful(named) else []


def digest_tasks(config: AbilitiesConfig) -> tuple[str, ...]:
    """Return digests of all that decides results beside the knobs: harness and local files."""
    if not config.tasks:
        return ()
    known = version("lm_eval") if find_spec("lm_eval") else "none"
    local = (
        hash_parts(task.name, *(f"{path.name}:{_digest(path)}" for path in task.files))
        for task in find_local_tasks(config)
    )
    return (f"lm_eval:{known}", *local)


def measure_abilities(
    model: str, revision: str | None, config: AbilitiesConfig, name: str
) -> tuple[Ability, ...]:
    """Run the tasks on one model; one record a task and metric, sorted.

    A group that has figures of its own stands for its tasks; of a tag, or a group without, every
    task is given. A metric that is no finite number is left out.

    Args:
        model: Folder or hub name of a causal model.
        revision: Its revision on the hub.
        config: Which tasks, and how.
        name: What the records call the model.

    Raises :class:`ConfigError` without the harness, and for tasks it does not know.
    """
    if not config.tasks:
        return ()
    if find_spec("lm_eval") is None:
        raise ConfigError(Problem(_WHERE, "lm-evaluation-harness is not installed", _INSTALL))
    local, named = find_local_tasks(config), _list_named(config)
    with TemporaryDirectory(prefix="opencharacter-tasks-") as folder:
        for task in local:
            _write_anchored(task, Path(folder))
        manager = _open_manager(named, folder if local else None)
        if problems := _find_unknown(named, manager):
            raise ConfigError(*problems)
        asked = (*named, *(task.name for task in local))
        found = _evaluate(model, revision, config, asked, manager)
    return read_abilities(found, asked, name)


def read_abilities(
    found: Mapping[str, Any], asked: Iterable[str], name: str
) -> tuple[Ability, ...]:
    """Read the harness's result: which of its many numbers answer what was asked."""
    results: Mapping[str, Mapping[str, Any]] = found["results"]
    members: Mapping[str, list[str]] = found.get("group_subtasks") or {}
    samples: Mapping[str, Mapping[str, int]] = found.get("n-samples") or {}
    wanted = set(asked)
    told_by_group = {
        member
        for task, values in results.items()
        if any(True for _ in _list_metrics(values))
        for member in _walk(task, members)
    }
    abilities = []
    for task in sorted(set(results) - (told_by_group - wanted)):
        parts = [task, *_walk(task, members)]
        rows = sum(samples[part]["effective"] for part in parts if part in samples)
        for metric, value, error in _list_metrics(results[task]):
            key = content_key("ability", name, task, metric)
            abilities.append(Ability(key, name, task, metric, value, error, rows))
    return tuple(sorted(abilities, key=lambda item: (item.task, item.metric)))


def find_local_tasks(config: AbilitiesConfig) -> tuple[LocalTask, ...]:
    """Find the user's own tasks: those of named files, and all of named folders.

    Raises :class:`ConfigError` that lists every path that is none, and every broken file.
    """
    problems: list[Problem] = []
    tasks: dict[str, LocalTask] = {}
    named = set(_list_named(config))
    for entry in config.tasks:
        if not _is_path(entry):
            continue
        place = find_path(entry)
        if place is None:
            problems.append(Problem(_WHERE, f"no such file or folder: {entry}", "fix the path"))
            continue
        paths = sorted(path for path in place.rglob("*") if path.suffix in _YAML)
        found = 0
        for path in paths if place.is_dir() else [place]:
            try:
                task = _read_task(path, needed=not place.is_dir())
            except ConfigError as error:
                problems += error.problems
                continue
            if task is None:
                continue
            found += 1
            same = tasks.setdefault(task.name, task)
            if same.path != task.path or task.name in named:
                other = same.path if same.path != task.path else "lm-evaluation-harness"
                what = f"the task {task.name} is in {other} too"
                problems.append(Problem(str(path), what, "give it another name"))
        if place.is_dir() and not found and not problems:
            todo = "give a folder that has some"
            problems.append(Problem(_WHERE, f"no task file in {place}", todo))
    if problems:
        raise ConfigError(*problems)
    return tuple(tasks[name] for name in sorted(tasks))


def _evaluate(
    model: str,
    revision: str | None,
    config: AbilitiesConfig,
    asked: tuple[str, ...],
    manager: Any,
) -> Mapping[str, Any]:
    import torch
    from lm_eval import simple_evaluate

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found: Mapping[str, Any] = simple_evaluate(
        model="hf",
        model_args={
            "pretrained": fetch_model(model),
            "revision": revision or "main",
            "dtype": "bfloat16" if gpus else "float32",
            "parallelize": gpus > 1,
            "trust_remote_code": False,
        },
        tasks=list(asked),
        task_manager=manager,
        num_fewshot=config.num_fewshot,
        batch_size=config.batch_size,
        device="cuda" if gpus else "cpu",
        limit=config.limit,
        apply_chat_template=config.apply_chat_template,
        log_samples=False,
    )
    return found


def _open_manager(named: tuple[str, ...], folder: str | None) -> Any:
    """Open the index of tasks; the harness's own is only read where it is needed."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=bool(named))


def _find_doubtful(named: tuple[str, ...]) -> set[str]:
    """Return the names that no task file of the harness was seen to declare, in a second or two."""
    left = set(named)
    package = find_spec("lm_eval")
    if not left or package is None or package.origin is None:
        return left
    for path in (Path(package.origin).parent / "tasks").rglob("*yaml*"):
        if not left:
            break
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for line in _DECLARED.findall(text):
                left -= {word.strip("\"'") for word in _SEPARATOR.split("".join(line))}
    return left


def _find_unknown(named: tuple[str, ...], manager: Any) -> list[Problem]:
    known = set(manager.all_tasks)
    problems = []
    for name in named:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=5)
            todo = f"did you mean {', '.join(near)}?" if near else "see `lm-eval ls tasks`"
            problems.append(Problem(_WHERE, f"lm-evaluation-harness has no task {name!r}", todo))
    return problems


def _list_named(config: AbilitiesConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry for entry in config.tasks if not _is_path(entry)))


def _is_path(entry: str) -> bool:
    return "/" in entry or entry.endswith(_YAML)


def _read_task(path: Path, *, needed: bool) -> LocalTask | None:
    """Read a task file; one without a task's name is a part that others include, or no task."""
    files: dict[Path, None] = {}
    fields = _read_yaml(path, files)
    name = fields.get("task")
    if not isinstance(name, str):
        if needed:
            what = "names no task: it is a group, or a part that tasks include"
            raise ConfigError(Problem(str(path), what, "give the file of a task, or the folder"))
        return None
    for source in list(files):
        files.update(dict.fromkeys(sorted(source.parent.glob("*.py"))))
    dataset: dict[str, Any] = {}
    given, where = fields.get("dataset_kwargs"), fields.get("dataset_path")
    if isinstance(given, dict):
        dataset["dataset_kwargs"] = {
            key: _anchor(value, path.parent, files) if key in _DATA else value
            for key, value in given.items()
        }
    if isinstance(where, str) and (path.parent / where).is_dir():
        dataset["dataset_path"] = _anchor(where, path.parent, files)
    return LocalTask(name, path, dataset, tuple(files))


def _read_yaml(path: Path, files: dict[Path, None]) -> dict[str, Any]:
    """Read a file with what it includes; references to functions are left open."""
    if path in files:
        return {}
    files[path] = None
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=_TaskLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}", "fix it")) from error
    if not isinstance(fields, dict):
        raise ConfigError(Problem(str(path), "holds no mapping", "write a task as YAML"))
    merged: dict[str, Any] = {}
    included = fields.pop("include", None) or []
    for part in [included] if isinstance(included, str) else included:
        merged |= _read_yaml((path.parent / str(part)).resolve(), files)
    return merged | fields


class _TaskLoader(yaml.SafeLoader):
    """Loader of plain data; ``!function`` and any other tag is nothing."""


_TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _anchor(value: Any, folder: Path, files: dict[Path, None]) -> Any:
    """Make paths beside a task file absolute, and note the files they name."""
    if isinstance(value, dict):
        return {key: _anchor(item, folder, files) for key, item in value.items()}
    if isinstance(value, list):
        return [_anchor(item, folder, files) for item in value]
    if not isinstance(value, str) or "://" in value:
        return value
    path = folder / value
    found = sorted(folder.glob(value)) if "*" in value and not path.is_absolute() else [path]
    inner = [
        item
        for place in found
        for item in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if item.is_file()
    ]
    files.update(dict.fromkeys(inner))
    return str(path) if inner else value


def _write_anchored(task: LocalTask, folder: Path) -> None:
    """Write a task file that is the user's but for where the data is."""
    fields = {"include": str(task.path), "task": task.name, **task.dataset}
    number = len(list(folder.iterdir()))
    (folder / f"{number}.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")


def _list_metrics(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float | None]]:
    """List a result's metrics with their standard errors; the keys are ``metric,filter``."""
    for key, value in values.items():
        metric, comma, filtered = key.partition(",")
        number = _as_number(value)
        if not comma or metric.endswith("_stderr") or number is None:
            continue
        error = _as_number(values.get(f"{metric}_stderr,{filtered}"))
        yield metric if filtered == "none" else f"{metric},{filtered}", number, error


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _walk(task: str, members: Mapping[str, list[str]]) -> Iterator[str]:
    """Name everything below a group."""
    for member in members.get(task) or ():
        yield member
        yield from _walk(member, members)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
