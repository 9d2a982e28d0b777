"""Finds files of a node that are not as they were written, and sets them aside for the next run.

A file is never removed for being damaged: it is renamed, named to people, and what it alone held is
made anew. What other files of the node hold stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import DamagedFile, StoreVersionError
from infra.store.manifests import Manifest, NodeSpec, PartRef, digest_bytes, read_manifest
from infra.store.storage import FileStat, Storage

DAMAGED = ".damaged"
_MANIFEST = re.compile(r"/[0-9a-f]{32}\.json$")


def set_aside(storage: Storage, path: str) -> str:
    """Rename a file so that nobody reads it as what it was; return its new path."""
    target = f"{path}{DAMAGED}"
    storage.move(path, target)
    return target


def set_aside_named(storage: Storage, error: DamagedFile) -> str:
    """Set the file of an error aside and say so in a line."""
    try:
        target = set_aside(storage, error.path)
    except FileNotFoundError:  # it was gone, or another node was first
        return f"{error.path} {error.why}: what it held is made anew"
    return f"{error.path} {error.why}: set aside as {target}; what it held is made anew"


def find_damage(storage: Storage, node: NodeSpec) -> dict[str, str]:
    """Return what is wrong with the files that manifests of a node's recipe name, by path.

    Nothing is read whole but what was touched since its manifest was written.
    """
    listed = {stat.path: stat for stat in storage.list(node.folder)}
    wrong: dict[str, str] = {}
    for path in sorted(filter(_MANIFEST.search, listed)):
        if not node.by_rows and path != node.manifest_path:
            continue  # a node that is made whole shares no file with another
        try:
            manifest = read_manifest(storage, path)
        except StoreVersionError:
            wrong[path] = "is not the manifest that was written"
            continue
        except FileNotFoundError:
            continue
        for part in _list_files(manifest):
            if (what := _compare(storage, part, listed)) is not None:
                wrong[part.path] = what
    return wrong


def fix_node(storage: Storage, node: NodeSpec) -> list[str]:
    """Set aside what is damaged of a node that is to be made, and say so, a line per file.

    A node that is made whole writes over its files; only rows are worth keeping.
    """
    lines = []
    for path, what in find_damage(storage, node).items():
        if not node.by_rows:
            lines.append(f"{path} {what}: {node.stage} is made anew")
        else:
            lines.append(set_aside_named(storage, DamagedFile(storage.url(path), path, what)))
    return lines


def _list_files(manifest: Manifest) -> list[PartRef]:
    return [*manifest.parts, *([manifest.members] if manifest.members else [])]


def _compare(storage: Storage, part: PartRef, listed: Mapping[str, FileStat]) -> str | None:
    found = listed.get(part.path) or storage.stat(part.path)
    if found is None:
        return "is gone"
    if found.size != part.size:
        return f"has {found.size:,} bytes instead of {part.size:,}"
    if found.token == part.token:
        return None
    same = digest_bytes(storage.read_bytes(part.path)) == part.digest
    return None if same else "was changed"
