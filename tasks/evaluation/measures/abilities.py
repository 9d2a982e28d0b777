"""Measures with lm-evaluation-harness what learning to play roles cost a model elsewhere.

The harness is an optional extra and this is its only door. A task is one of its own, by name, or a
YAML file of the user's in its format (:mod:`tasks.evaluation.measures.task_files`).

Weights are loaded as for attribution: bf16 on a GPU, spread over all that are visible, fp32 on a
CPU. The harness seeds the generators of its process and draws progress bars, so a flow gives it a
process of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

from infra.errors import ConfigError, Problem
from infra.knobs import Knobs, execution, identity, selection
from infra.models.folders import fetch_model
from infra.store.fingerprints import content_key
from infra.temporary_folders import temporary_folder
from tasks.evaluation.measures.task_files import (
    WHERE,
    TaskParcel,
    find_local_tasks,
    list_named,
    write_anchored,
)
from tasks.records import Ability

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


def check_abilities(config: AbilitiesConfig) -> list[Problem]:
    """Find what would keep the tasks from being run: no harness, no such task, a broken file.

    Data sets on the hub are not asked for.
    """
    if not config.tasks:
        return []
    if find_spec("lm_eval") is None:
        return [Problem(WHERE, "lm-evaluation-harness is not installed", _INSTALL)]
    try:
        find_local_tasks(config.tasks)
    except ConfigError as error:
        return list(error.problems)
    named = list_named(config.tasks)
    # The whole index takes 12 s, so it is only asked about names that a quick look did not find.
    return _find_unknown(named, _open_manager(named, None)) if _find_doubtful(named) else []


def digest_tasks(config: AbilitiesConfig) -> tuple[str, ...]:
    """Return digests of all that decides results beside the knobs: harness and local files."""
    if not config.tasks:
        return ()
    known = version("lm_eval") if find_spec("lm_eval") else "none"
    return (f"lm_eval:{known}", *(task.digest() for task in find_local_tasks(config.tasks)))


def measure_abilities(
    model: str, revision: str | None, config: AbilitiesConfig, own: TaskParcel, name: str
) -> tuple[Ability, ...]:
    """Run the tasks on one model; one record a task and metric, sorted.

    A group that has figures of its own stands for its tasks; of a tag, or a group without, every
    task is given. A metric that is no finite number is left out.

    Args:
        model: Folder or hub name of a causal model.
        revision: Its revision on the hub.
        config: Which tasks, and how.
        own: The user's tasks among them, which may come from another machine.
        name: What the records call the model.

    Raises :class:`ConfigError` without the harness, and for tasks it does not know.
    """
    if not config.tasks:
        return ()
    if find_spec("lm_eval") is None:
        raise ConfigError(Problem(WHERE, "lm-evaluation-harness is not installed", _INSTALL))
    local, named = own.unpack(), list_named(config.tasks)
    with temporary_folder("tasks") as folder:
        for task in local:
            write_anchored(task, folder)
        manager = _open_manager(named, str(folder) if local else None)
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
            "pretrained": fetch_model(model, revision),
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
            problems.append(Problem(WHERE, f"lm-evaluation-harness has no task {name!r}", todo))
    return problems


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
