"""Surveys a store: every file and every manifest that lies in it, whoever put it there.

Stages keep their files as ``<stage>/<recipe key>/…``; what does not look so (sources, reports,
another store below the same folder) is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from infra.errors import StoreVersionError
from infra.store.manifests import Manifest, read_manifest
from infra.store.storage import FileStat, Storage

_KEY = "[0-9a-f]{32}"
_IN_RECIPE = re.compile(rf"(?P<folder>(?!runs/|prefect/)[^/]+/{_KEY})/(?P<rest>.+)")
_MANIFEST = re.compile(rf"[^/]+/{_KEY}/{_KEY}\.json")
_OWNER = re.compile(rf"(?:part-)?(?P<key>{_KEY})(?=[./-]|$)")
_ROW_PART = re.compile(rf"part-(?:c-)?{_KEY}\.parquet")
_TEMPORARY = re.compile(rf"(?:^|/)\.(?:[^/]+\.{_KEY}\.(?:tmp|old)|probe-{_KEY})(?:/|$)")


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a store.

    Attributes:
        files: Every file below the root by its path; sizes in bytes.
        manifests: The readable manifests by path.
        unreadable: Why other files that stand where manifests do are none, by path.
    """

    files: Mapping[str, FileStat]
    manifests: Mapping[str, Manifest]
    unreadable: Mapping[str, str]


def survey_store(storage: Storage) -> Survey:
    """List the store and read its manifests; one listing a folder, one read a manifest."""
    folders = {path.rpartition("/")[0] for path in storage.walk("")}
    files = {
        stat.path.lstrip("/"): stat for folder in sorted(folders) for stat in storage.list(folder)
    }
    manifests: dict[str, Manifest] = {}
    unreadable: dict[str, str] = {}
    for path in sorted(filter(_MANIFEST.fullmatch, files)):
        try:
            manifests[path] = read_manifest(storage, path)
        except (StoreVersionError, ValidationError) as error:
            unreadable[path] = str(error)
        except FileNotFoundError:  # removed since it was listed
            continue
    return Survey(files, manifests, unreadable)


def split_path(path: str) -> tuple[str, str] | None:
    """Return a file's recipe folder and its path below it; ``None`` for files of no stage."""
    match = _IN_RECIPE.fullmatch(path)
    return (match["folder"], match["rest"]) if match else None


def is_row_part(rest: str) -> bool:
    """Tell whether a file of a recipe folder holds rows that all its nodes share."""
    return _ROW_PART.fullmatch(rest) is not None


def is_chunk(rest: str) -> bool:
    """Tell whether a file of a recipe folder is a chunk part, not merged yet."""
    return is_row_part(rest) and rest.startswith("part-c-")


def find_owner(rest: str) -> str | None:
    """Return the fingerprint of the node that a file of a recipe folder is named after."""
    match = _OWNER.match(rest)
    return match["key"] if match and not is_row_part(rest) else None


def is_temporary(path: str) -> bool:
    """Tell whether a file was being written, or a folder moved, when its writer died."""
    return _TEMPORARY.search(path) is not None
