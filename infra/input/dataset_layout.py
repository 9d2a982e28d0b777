"""Chooses the files of a data set's folder: one configuration, one split.

Folders come as ``save_to_disk`` leaves them, as the hub has them (``data/train-00000-of-00001…``, a
folder for each configuration, a card that lists the files), or as people lay them out. Training on
a test split is a fault that nobody sees, so a folder that has splits gives its ``train`` split
unless another is asked for, and what is left aside is told.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.store.storage import FileStat

TRAIN, ALL = "train", "all"

_CARD = "README.md"
_NOT_DATA = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
_CACHED = re.compile(r"(?:cache|tmp)[-_].*\.arrow|indices\.arrow")
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(?P<name>\w+(?:\.\w+)*)-\d{5}-of-\d{5}")
_NO_SPLIT = frozenset({"data", "dataset", "part", "shard", "chunk", "rows", "default"})
_FORMATS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_SHOWN = 4


class LayoutError(ValueError):
    """A folder of which it is not clear what is to be read: what is there, and what to set."""

    def __init__(self, what: str, todo: str) -> None:
        self.what, self.todo = what, todo
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is read of a folder, and what is left aside of it.

    ``split`` and ``subset`` are ``None`` where the folder has none.
    """

    files: tuple[FileStat, ...]
    split: str | None = None
    subset: str | None = None
    aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    stat: FileStat
    path: str
    split: str | None


@dataclass(frozen=True, slots=True)
class _Subset:
    files: tuple[_File, ...]
    default: bool = False


def choose_files(
    stats: Mapping[str, FileStat],
    read_card: Callable[[str], str],
    *,
    split: str | None,
    subset: str | None,
    likely: Sequence[str] = (),
) -> Layout:
    """Choose among the files of a folder, given by their paths in it.

    ``read_card`` returns the text of a file there, or nothing. Of several configurations the one
    is taken that is asked for, that is called default, or the first of ``likely`` ones. Raises
    :class:`LayoutError` where nothing of the kind is there.
    """
    data = {path: stat for path, stat in stats.items() if not is_aside(path)}
    found = [_File(data[path], path, find_split(path)) for path in sorted(data)]
    subsets = _read_card(read_card(_CARD), found) or _find_subsets(found)
    name = _choose_subset(subsets, subset, likely)
    if name is not None:
        found = list(subsets[name].files)
    chosen, wanted = choose_split(found, lambda item: item.split, split)
    chosen = _leave_copies(chosen)
    kept = {item.path for item in chosen}
    aside = sorted(set(data) - kept)
    return Layout(tuple(item.stat for item in chosen), wanted, name, tuple(aside))


def choose_split(
    found: Sequence[Any], tell: Callable[[Any], str | None], split: str | None
) -> tuple[list[Any], str | None]:
    """Return the files of a split, and its name if there are splits at all.

    Without a wish that is ``train``, or, where none is called so, what no split's name is on.
    """
    splits = sorted({name for name in map(tell, found) if name is not None})
    if split == ALL or not splits:
        if split not in (None, ALL, TRAIN):
            what = f"has no split {split!r}, nor any that is told by a name"
            raise LayoutError(what, "leave split out, or name the files")
        return list(found), None
    wanted = _WORDS.get(split, split) if split else TRAIN
    chosen = [item for item in found if tell(item) == wanted]
    if chosen:
        return chosen, wanted
    nameless = [item for item in found if tell(item) is None]
    if split is None and nameless:
        return nameless, None
    what = f"has no split {wanted!r}; it has {', '.join(splits)}"
    raise LayoutError(what, f"set split to one of them, or to {ALL}")


def find_split(path: str) -> str | None:
    """Tell a file's split by its name or its folders', or ``None``."""
    *folders, name = path.split("/")
    for folder in reversed(folders):
        if folder.lower() in _WORDS:
            return _WORDS[folder.lower()]
    shard = _SHARD.match(name)
    if shard and "data" in folders[-1:]:
        stem = shard["name"]
        return None if stem.lower() in _NO_SPLIT else _WORDS.get(stem.lower(), stem)
    for part in (name, *reversed(folders)):
        for word in re.split(r"[^A-Za-z]+", part.lower()):
            if word in _WORDS:
                return _WORDS[word]
    return None


def is_aside(path: str) -> bool:
    """Tell what libraries write beside the data from the data."""
    parts = path.split("/")
    if parts[-1] in _NOT_DATA or _CACHED.fullmatch(parts[-1]):
        return True
    return any(part.startswith(".") for part in parts)


def _read_card(text: str, files: Sequence[_File]) -> dict[str, _Subset]:
    """Return the configurations that a card lists with files that are there."""
    import yaml

    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        listed = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return {}
    entries = listed.get("configs") if isinstance(listed, dict) else None
    subsets: dict[str, _Subset] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        chosen = [
            _File(item.stat, item.path, split or item.split)
            for split, pattern in _list_patterns(entry)
            for item in files
            if _matches(item.path, pattern)
        ]
        if chosen:
            name = str(entry.get("config_name") or "default")
            subsets[name] = _Subset(tuple(chosen), entry.get("default") is True)
    return subsets


def _list_patterns(entry: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    """Return splits and patterns of a configuration: one, a list, or a list for each split."""
    base = str(entry.get("data_dir") or "").strip("/")
    given = entry.get("data_files")
    if given is None:
        return [(None, f"{base}/*")] if base else []
    patterns: list[tuple[str | None, str]] = []
    for item in given if isinstance(given, list) else [given]:
        split, paths = None, item
        if isinstance(item, dict):
            split, paths = item.get("split"), item.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                named = None if split is None else _WORDS.get(str(split), str(split))
                patterns.append((named, f"{base}/{path}".strip("/")))
    return patterns


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./")
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(
        path, pattern.replace("**/", "")
    )


def _find_subsets(files: Sequence[_File]) -> dict[str, _Subset]:
    """Return the top folders, if they hold the same split under the same names: configurations.

    Folders that are only numbers, such as years, are parts of one data set.
    """
    groups: defaultdict[str, list[_File]] = defaultdict(list)
    for item in files:
        top, _, rest = item.path.partition("/")
        if not rest or top.lower() in _WORDS or not re.search("[A-Za-z]", top):
            return {}
        groups[top].append(item)
    if len(groups) < 2:
        return {}
    names = [
        {item.path.partition("/")[2] for item in group if find_split(item.path.partition("/")[2])}
        for group in groups.values()
    ]
    shared = any(one & two for place, one in enumerate(names) for two in names[:place])
    if not shared:
        return {}
    return {
        name: _Subset(
            tuple(
                _File(item.stat, item.path, find_split(item.path.partition("/")[2]))
                for item in group
            ),
            name == "default",
        )
        for name, group in groups.items()
    }


def _choose_subset(
    subsets: Mapping[str, _Subset], wanted: str | None, likely: Sequence[str]
) -> str | None:
    if not subsets:
        if wanted is not None:
            what = f"has no configuration {wanted!r}, nor any that is told by a card or a folder"
            raise LayoutError(what, "leave subset out, or name the files")
        return None
    known = ", ".join(sorted(subsets))
    if wanted is not None:
        if wanted in subsets:
            return wanted
        raise LayoutError(f"has no configuration {wanted!r}; it has {known}", "set subset to one")
    default = [name for name, item in subsets.items() if item.default or name == "default"]
    default += [name for name in likely if name in subsets]
    if default or len(subsets) == 1:
        return next(iter(default or subsets))
    raise LayoutError(f"has several configurations: {known}", "set subset to one of them")


def _leave_copies(files: Sequence[_File]) -> list[_File]:
    """Leave out what is there in a second format: the same rows would be read twice."""
    best: dict[str, _File] = {}
    for item in sorted(files, key=lambda item: (_rank(item.path), item.path)):
        best.setdefault(_cut_ending(item.path), item)
    return sorted(best.values(), key=lambda item: item.path)


def _rank(path: str) -> int:
    lower = path.lower()
    return next((place for place, end in enumerate(_FORMATS) if end in lower), len(_FORMATS))


def _cut_ending(path: str) -> str:
    lower = path.lower()
    places = [lower.rfind(end) for end in _FORMATS if end in lower]
    return path[: max(places)] if places else path


def describe_layout(layout: Layout, root: str) -> str:
    """Say in a line what is read, and what is left aside."""
    names = [stat.path.removeprefix(root).lstrip("/") for stat in layout.files]
    told = [f"split {layout.split}"] if layout.split else []
    told += [f"configuration {layout.subset}"] if layout.subset else []
    told.append(_list_some(names))
    if layout.aside:
        told.append(f"left aside: {_list_some(layout.aside)}")
    return "; ".join(told)


def _list_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
