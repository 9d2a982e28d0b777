"""Reads task files that are the user's own, and takes them to the machine that runs them.

A task of lm-evaluation-harness is a YAML file with what it includes, the code beside these, and the
data that it names; relative data files are looked up beside it, so that a task can be moved and run
from anywhere. A parcel holds all of it by content, since the machine that measures a model may see
none of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.errors import ConfigError, Problem
from infra.file_locks import keep_alone
from infra.models.node_cache import find_kept, hold, make_room
from infra.paths import find_path, user_cache
from infra.store.fingerprints import hash_parts

WHERE = "evaluation.abilities.tasks"
"""The knob that names tasks, for messages."""

_YAML = (".yaml", ".yml")
_DATA = ("data_files", "data_dir")
_MOST_BYTES = 256 * 2**20
"""A parcel goes through the driver's memory and the object store of the node that measures."""


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

    def digest(self) -> str:
        """Return what tells the task from another: its name and its files, not where they lie."""
        return hash_parts(self.name, *(f"{path.name}:{_digest(path)}" for path in self.files))


@dataclass(frozen=True, slots=True)
class TaskParcel:
    """The user's tasks with the contents of all their files, by path on the machine that packed."""

    tasks: tuple[LocalTask, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)

    def unpack(self) -> tuple[LocalTask, ...]:
        """Lay the files down in this machine's cache and return the tasks as they lie here.

        Their place is named by their content, and stays: the harness's libraries keep what they
        made of data under the name of its file.
        """
        if not self.tasks:
            return ()
        contents = sorted(self.contents.items())
        digests = (f"{name}:{hashlib.blake2b(data).hexdigest()}" for name, data in contents)
        kept = user_cache("tasks") / hash_parts(*digests)
        if not find_kept(kept):
            self._lay_down(kept)
        return tuple(
            LocalTask(
                task.name,
                _move(str(task.path), kept),
                {
                    key: _move_named(value, kept, self.contents)
                    for key, value in task.dataset.items()
                },
                tuple(_move(str(path), kept) for path in task.files),
            )
            for task in self.tasks
        )

    def _lay_down(self, kept: Path) -> None:
        hold(kept)
        with keep_alone(kept):
            if kept.is_dir():
                return
            make_room(sum(map(len, self.contents.values())))
            scratch = kept.with_name(f".{kept.name}.tmp")
            shutil.rmtree(scratch, ignore_errors=True)
            for name, data in self.contents.items():
                path = _move(name, scratch)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            scratch.rename(kept)


def pack_tasks(entries: Sequence[str]) -> TaskParcel:
    """Pack the user's own tasks among these; :class:`ConfigError` as :func:`find_local_tasks`."""
    tasks = find_local_tasks(entries)
    paths = {path for task in tasks for path in task.files}
    return TaskParcel(tasks, {str(path): path.read_bytes() for path in sorted(paths)})


def list_named(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks that are named, not those that are given as files."""
    return tuple(dict.fromkeys(entry for entry in entries if not _is_path(entry)))


def find_local_tasks(entries: Sequence[str]) -> tuple[LocalTask, ...]:
    """Find the user's own tasks: those of named files, and all of named folders.

    Raises :class:`ConfigError` that lists every path that is none and every broken file, and says
    so where all files together are too large to be sent to a node.
    """
    problems: list[Problem] = []
    tasks: dict[str, LocalTask] = {}
    named = set(list_named(entries))
    for entry in entries:
        if not _is_path(entry):
            continue
        place = find_path(entry)
        if place is None:
            problems.append(Problem(WHERE, f"no such file or folder: {entry}", "fix the path"))
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
            problems.append(Problem(WHERE, f"no task file in {place}", todo))
    problems += _weigh(tasks.values())
    if problems:
        raise ConfigError(*problems)
    return tuple(tasks[name] for name in sorted(tasks))


def _weigh(tasks: Iterable[LocalTask]) -> list[Problem]:
    sizes = {path: path.stat().st_size for task in tasks for path in task.files}
    total = sum(sizes.values())
    if total <= _MOST_BYTES:
        return []
    largest = max(sizes, key=sizes.__getitem__)
    what = (
        f"task files and their data have {total / 2**20:,.1f} MiB, and at most "
        f"{_MOST_BYTES >> 20} can be sent to the node that measures; the largest is {largest}"
    )
    return [Problem(WHERE, what, "name large data as a data set of a hub, or by its address")]


def write_anchored(task: LocalTask, folder: Path) -> None:
    """Write a task file that is the user's but for where the data is."""
    fields = {"include": str(task.path), "task": task.name, **task.dataset}
    number = len(list(folder.iterdir()))
    (folder / f"{number}.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")


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
        # As the harness looks for it: beside the task, whatever a link there leads to.
        merged |= _read_yaml(Path(os.path.normpath(path.parent / str(part))), files)
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
    # Without steps up: below another folder they would lead out of it.
    path = Path(os.path.normpath(folder / value))
    found = _glob(path) if "*" in value else [path]
    inner = [
        item
        for place in found
        for item in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if item.is_file()
    ]
    files.update(dict.fromkeys(inner))
    return str(path) if inner else value


def _glob(path: Path) -> list[Path]:
    """Return what a pattern names; the folders before its first star are taken by the letter."""
    parts = path.parts
    first = next((number for number, part in enumerate(parts) if "*" in part), len(parts) - 1)
    return sorted(Path(*parts[:first]).glob(str(Path(*parts[first:]))))


def _move(name: str, folder: Path) -> Path:
    """Return where a file of another machine lies below a folder of this one."""
    return folder / Path(name).relative_to("/")


def _move_named(value: Any, folder: Path, packed: Mapping[str, bytes]) -> Any:
    """Move paths that name what was packed: files, folders of files, or patterns of them."""
    if isinstance(value, dict):
        return {key: _move_named(item, folder, packed) for key, item in value.items()}
    if isinstance(value, list):
        return [_move_named(item, folder, packed) for item in value]
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    start, star, _ = value.partition("*")
    inner = start if star else f"{value}/"
    if any(name == value or name.startswith(inner) for name in packed):
        return str(_move(value, folder))
    return value


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
