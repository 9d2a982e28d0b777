"""Brings a model's folder to the machine that reads it, wherever the model lies.

A model is named by a local folder, a hub's name, or an address on S3: an export of this project,
or a folder of one's own. Whoever loads a model, on whatever node of a cluster, asks here for what
to load. What lies on S3 is copied once into the user's cache of that machine, under the digest of
the export's manifest or of the folder's listing, so what is there is right, and a model that was
changed is another folder. A hub's comes into the hub's own cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from infra.errors import ConfigError, Problem, StorageError
from infra.file_locks import keep_alone
from infra.models.exported import EXPORT_MANIFEST, ExportManifest, digest_file, read_export
from infra.models.gguf_models import convert_gguf, is_gguf
from infra.models.hub_models import bring_hub_model, measure_hub_model, names_hub_model
from infra.models.node_cache import find_kept, hold, make_room, measure_path
from infra.models.weight_files import WEIGHTS, choose_files
from infra.paths import user_cache
from infra.store.fingerprints import hash_parts
from infra.store.storage import FileStat, Storage, is_remote

_NAMED_FOR_S = 60
"""A plan asks for every node."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """Model folder on S3 as it is now; ``export`` is its manifest if it is one of ours."""

    storage: Storage
    files: tuple[FileStat, ...]
    export: ExportManifest | None
    digest: str


def fetch_model(name: str, revision: str | None = None) -> str:
    """Return what libraries load a model from: a local folder for one on S3, else the name itself.

    What it names is on this machine then, and stays while this process lives.

    Raises :class:`ConfigError` where there is no model, :class:`StorageError` where an export is
    not what its manifest says.
    """
    if is_gguf(name):
        return str(convert_gguf(locate_file(name)))
    if is_remote(name):
        return str(_fetch(name, weights=True))
    if names_hub_model(name):
        bring_hub_model(name, revision)
    return name


def bring_model(name: str, revision: str | None = None) -> None:
    """Copy what lies on S3 or a hub to this machine, once for all who will load it here."""
    if is_remote(name) and is_gguf(name):
        locate_file(name)
    elif not is_gguf(name):
        fetch_model(name, revision)


def measure_brought(name: str, revision: str | None = None) -> tuple[int, int]:
    """Return how many bytes of a model are on this machine, and how many there are in all.

    Both are 0 for a model that comes from nowhere.
    """
    if not is_remote(name):
        return measure_hub_model(name, revision) if names_hub_model(name) else (0, 0)
    if is_gguf(name):
        folder, _, file = name.rpartition("/")
        stat = Storage(folder).stat(file)
        if stat is None:
            return 0, 0
        kept = _keep_file(name, stat)
        return measure_path(kept) or measure_path(_part_of(kept)), stat.size
    found = _list(name)
    total = sum(stat.size for stat in found.files)
    kept = user_cache("models") / found.digest
    return total if kept.is_dir() else sum(map(measure_path, _unfinished(kept))), total


def peek_model(name: str) -> Path:
    """Return a folder with all of a model but its weights, for who needs none.

    Of a model that is not on S3 it is the folder itself, or that of the converted GGUF file; of a
    hub's name nothing is fetched.
    """
    if is_gguf(name):
        return convert_gguf(locate_file(name))
    return _fetch(name, weights=False) if is_remote(name) else Path(name)


def name_model_version(address: str) -> str:
    """Return what tells one version of a model on S3 from another, by its listing.

    An export has the same name wherever it lies: the digest of its manifest.
    """
    return _name_version(address, int(time.monotonic() // _NAMED_FOR_S))


def measure_weights(address: str) -> int:
    """Return the bytes of the weight files of a model on S3."""
    return sum(stat.size for stat in _list(address).files if _file_name(stat).endswith(WEIGHTS))


def locate_file(name: str) -> Path:
    """Return where a GGUF file lies on this machine; one on S3 is copied first."""
    if not is_remote(name):
        return Path(name).expanduser()
    folder, _, file = name.rpartition("/")
    storage = Storage(folder)
    stat = storage.stat(file)
    if stat is None:
        raise ConfigError(Problem(name, "no such file", "give the address of a GGUF file"))
    kept = _keep_file(name, stat)
    if find_kept(kept.parent) and kept.is_file():
        return kept
    hold(kept.parent)
    with keep_alone(kept.parent):
        if not kept.is_file():
            part = _part_of(kept)
            part.parent.mkdir(exist_ok=True)
            make_room(stat.size)
            storage.download(file, part)
            part.rename(kept)
    return kept


def _keep_file(name: str, stat: FileStat) -> Path:
    file = name.rpartition("/")[2]
    return user_cache("models") / hash_parts(name, str(stat.size), stat.token) / file


def _part_of(kept: Path) -> Path:
    return kept.with_name(f".{kept.name}.part")


def _unfinished(kept: Path) -> tuple[Path, Path]:
    """Return where whole files wait for the others of a folder, and the one being copied."""
    return kept.with_name(f".{kept.name}.tmp"), _part_of(kept)


def fetch_export(storage: Storage, path: str) -> Path:
    """Return a local folder with an export; :class:`ConfigError` if there is none."""
    folder = Path(fetch_model(storage.url(path)))
    read_export(folder)
    return folder


def _fetch(address: str, *, weights: bool) -> Path:
    found = _list(address)
    whole = user_cache("models") / found.digest
    if find_kept(whole):
        return whole
    kept = whole if weights else whole.with_name(f"{found.digest}.without-weights")
    if find_kept(kept):
        return kept
    hold(kept)
    with keep_alone(kept):
        if not kept.is_dir():
            _copy(found, kept, weights=weights)
    return kept


def _copy(found: _Folder, kept: Path, *, weights: bool) -> None:
    """Copy file by file; who was stopped goes on after the last whole file. Call it alone."""
    scratch, part = _unfinished(kept)
    if weights:
        come = sum(map(measure_path, (scratch, part)))
        make_room(sum(stat.size for stat in found.files) - come)
    scratch.mkdir(exist_ok=True)
    digests = {item.name: item.digest for item in found.export.files} if found.export else {}
    for stat in found.files:
        name = _file_name(stat)
        if name.endswith(WEIGHTS) and not weights:
            continue
        expected, whole = digests.pop(name, None), scratch / name
        if whole.is_file():
            continue
        found.storage.download(name, part)
        if expected is not None and digest_file(part) != expected:
            part.unlink()
            raise StorageError(
                f"{found.storage.url(name)} is not what its manifest names; export it anew"
            )
        part.rename(whole)
    missing = [name for name in digests if weights or not name.endswith(WEIGHTS)]
    if missing:
        raise StorageError(f"{found.storage.url(missing[0])} is named by its manifest but gone")
    scratch.rename(kept)


@lru_cache(maxsize=64)
def _name_version(address: str, _period: int) -> str:
    return _list(address).digest


def _list(address: str) -> _Folder:
    storage = Storage(address)
    found = {_file_name(stat): stat for stat in storage.list("")}
    names = choose_files(found)
    files = [found[name] for name in names]
    if "config.json" not in names:
        raise ConfigError(
            Problem(address, "no model there: no config.json", "give the address of its folder")
        )
    if EXPORT_MANIFEST not in names:
        listed = (f"{_file_name(stat)}:{stat.size}:{stat.token}" for stat in files)
        return _Folder(storage, tuple(files), None, hash_parts(*listed))
    sealed = storage.read_bytes(EXPORT_MANIFEST).decode()
    export = ExportManifest.model_validate_json(sealed)
    return _Folder(storage, tuple(files), export, hash_parts(sealed))


def _file_name(stat: FileStat) -> str:
    return stat.path.rsplit("/", 1)[-1]
