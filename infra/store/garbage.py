"""Finds and removes what no kept node of a store needs any more.

What the kept nodes reach through their manifests' ``upstream`` stays, with all that is named
after them. A kept node without a manifest is not finished: all rows of its recipe stay, for it to
go on. Everything else of the stages goes, and so do temporary files, chunks that a merged part
replaces, and the checkpoints of a training whose export is sound.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.store.key_index import is_index
from infra.store.manifests import Manifest, find_sound_manifest, manifest_path, stage_folder
from infra.store.row_store import find_replaced
from infra.store.storage import Storage, is_remote
from infra.store.survey import (
    Survey,
    find_owner,
    is_chunk,
    is_row_part,
    is_temporary,
    split_path,
)

_CHECKPOINT = re.compile(r"[0-9a-f]{32}\.checkpoints/")
_RESULTS = "prefect"
_NODE_GONE = "node of no kept run"


@dataclass(frozen=True, slots=True)
class KeptNode:
    """Node that a kept run planned; it may have no manifest yet."""

    stage: str
    recipe: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """File that can go, its size in bytes, and why."""

    path: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class _Needs:
    """What must stay.

    ``named`` are paths of files that kept manifests name, ``nodes`` fingerprints by recipe
    folder, ``open_folders`` the recipe folders in which a kept node is not finished or may be
    at work.
    """

    named: frozenset[str]
    nodes: dict[str, set[str]]
    open_folders: frozenset[str]


def find_garbage(
    storage: Storage,
    survey: Survey,
    kept: Collection[KeptNode],
    running: Collection[KeptNode] = (),
) -> list[Garbage]:
    """List what can go.

    ``running`` are nodes of runs that may be at work: nothing of theirs goes, and no temporary
    file of anybody.
    """
    needs = _find_needs(survey, kept, running)
    replaced = _list_replaced(storage, survey)
    finished = _list_trained(storage, survey, needs, {node.fingerprint for node in running})
    stages = {manifest.stage for manifest in survey.manifests.values()}
    stages |= {node.stage for node in (*kept, *running)}
    # A folder with a manifest that nobody can read may hold what somebody needs.
    unclear = {path.rpartition("/")[0] for path in survey.unreadable}
    garbage = []
    gone: set[str] = set()
    for path, stat in survey.files.items():
        place = split_path(path)
        why = ""
        if is_temporary(path):
            why = "" if running else "temporary"
        elif place and place[0].split("/")[0] in stages and place[0] not in unclear:
            why = _judge_file(path, *place, needs=needs, replaced=replaced, finished=finished)
        if why:
            garbage.append(Garbage(path, stat.size, why))
            if path in survey.manifests:
                gone.add(survey.manifests[path].fingerprint)
    shortened = {
        split[0] for item in garbage if (split := split_path(item.path)) and is_row_part(split[1])
    }
    garbage += _list_stale_indexes(survey, shortened, {item.path for item in garbage})
    results = (survey.files.get(f"{_RESULTS}/{fingerprint}") for fingerprint in sorted(gone))
    return [*garbage, *(Garbage(stat.path, stat.size, _NODE_GONE) for stat in results if stat)]


def remove_garbage(
    storage: Storage, garbage: Sequence[Garbage], on_removed: Callable[[Garbage], None]
) -> None:
    """Remove files, manifests first, so that no node ever looks done while its parts go."""
    for item in sorted(garbage, key=lambda item: (not item.path.endswith(".json"), item.path)):
        storage.remove(item.path)
        on_removed(item)
    if not is_remote(storage.root):
        _remove_empty_folders(storage, {item.path for item in garbage})


def _find_needs(
    survey: Survey, kept: Collection[KeptNode], running: Collection[KeptNode]
) -> _Needs:
    found = {(item.stage, item.fingerprint): item for item in survey.manifests.values()}
    nodes: dict[str, set[str]] = {}
    open_folders = {stage_folder(node.stage, node.recipe) for node in running}
    for node in (*kept, *running):
        folder = stage_folder(node.stage, node.recipe)
        nodes.setdefault(folder, set()).add(node.fingerprint)
        if manifest_path(node.stage, node.recipe, node.fingerprint) not in survey.manifests:
            open_folders.add(folder)
    named: set[str] = set()
    waiting = [(node.stage, node.fingerprint) for node in (*kept, *running)]
    seen = set(waiting)
    while waiting:
        manifest = found.get(waiting.pop())
        if manifest is None:
            continue
        nodes.setdefault(_folder_of(manifest), set()).add(manifest.fingerprint)
        named.update(part.path for part in manifest.parts)
        if manifest.members is not None:
            named.add(manifest.members.path)
        more = set(manifest.upstream.items()) - seen
        seen |= more
        waiting += more
    return _Needs(frozenset(named), nodes, frozenset(open_folders))


def _judge_file(
    path: str,
    folder: str,
    rest: str,
    *,
    needs: _Needs,
    replaced: Collection[str],
    finished: Collection[str],
) -> str:
    """Return why a file of a recipe folder can go; nothing if it must stay."""
    owner = find_owner(rest)
    if path in replaced:
        return "replaced chunk"
    if folder not in needs.nodes:
        return "recipe of no kept run"
    if path in needs.named:
        return ""
    if is_row_part(rest):
        return "" if folder in needs.open_folders else "rows of no kept run"
    if owner is None:
        return ""  # not named as any stage names files: not ours to remove
    if owner not in needs.nodes[folder]:
        return _NODE_GONE
    if _CHECKPOINT.match(rest) and owner in finished:
        return "checkpoint of a finished training"
    return ""


def _list_replaced(storage: Storage, survey: Survey) -> set[str]:
    """Find the replaced chunks of all folders; reads parts only where chunks lie beside them."""
    chunks: set[str] = set()
    merged: dict[str, list[str]] = {}
    for path in survey.files:
        place = split_path(path)
        if place is None or not is_row_part(place[1]):
            continue
        if is_chunk(place[1]):
            chunks.add(path)
        else:
            merged.setdefault(place[0], []).append(path)
    folders = {path.rpartition("/")[0] for path in chunks}
    parts = [path for folder in sorted(folders) for path in merged.get(folder, ())]
    return find_replaced(storage, parts) & chunks


def _list_stale_indexes(
    survey: Survey, folders: Collection[str], gone: Collection[str]
) -> list[Garbage]:
    """Return the indexes of folders that lose parts: nobody would believe them any more."""
    return [
        Garbage(path, stat.size, "index of removed parts")
        for path, stat in survey.files.items()
        if is_index(stat) and path not in gone and path.rpartition("/")[0] in folders
    ]


def _list_trained(
    storage: Storage, survey: Survey, needs: _Needs, running: Collection[str]
) -> set[str]:
    """Return the fingerprints of kept trainings that left checkpoints beside a sound export."""
    with_checkpoints = {
        path.split(".checkpoints/")[0] for path in survey.files if ".checkpoints/" in path
    }
    return {
        manifest.fingerprint
        for manifest in survey.manifests.values()
        if manifest.path.removesuffix(".json") in with_checkpoints
        and manifest.fingerprint in needs.nodes.get(_folder_of(manifest), ())
        and manifest.fingerprint not in running
        and find_sound_manifest(storage, manifest.path) is not None
    }


def _folder_of(manifest: Manifest) -> str:
    return stage_folder(manifest.stage, manifest.recipe)


def _remove_empty_folders(storage: Storage, removed: Collection[str]) -> None:
    root = Path(storage.root)
    folders = {parent for path in removed for parent in Path(path).parents}
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        target = root / folder
        if folder.parts and target.is_dir() and not any(target.rglob("*")):
            shutil.rmtree(target, ignore_errors=True)
