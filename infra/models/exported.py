"""Seals, publishes and withdraws exported model folders by their manifest.

An export folder holds ``export.json``, written last, which names every file that decides what the
model does, with size and digest. It holds nothing that two exports of the same weights would not
share (no times, no measures), because its own digest stands for the weights in recipe keys
(:mod:`infra.engines.identity`). What lies beside them for people, such as the card and the curves,
is named only.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import ConfigError, Problem
from infra.store.manifests import PartRef, digest_bytes, refer_to_file
from infra.store.storage import Storage, is_remote

EXPORT_MANIFEST = "export.json"
"""A folder exported by this project holds this file; its digest stands for the weights."""

_BLOCK_BYTES = 1 << 22


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportedFile(_Plain):
    """One file of an export: its name, its size in bytes and its digest (BLAKE2b, 128 bits)."""

    name: str
    size: int
    digest: str


class ExportManifest(_Plain):
    """Description of an export.

    Attributes:
        fingerprint: The training node that made the weights.
        base: Identity of the model that was fine-tuned (:func:`identify_model`).
        dtype: Number format of the weights.
        parameters: How many numbers the weights are, tied ones counted once.
        template: Name of the chat format.
        files: What decides the model's output.
        beside: What is there for people; absence or change is no fault, and it may come later.
    """

    format: int = 1
    fingerprint: str
    base: str
    dtype: str
    parameters: int
    template: str
    files: tuple[ExportedFile, ...]
    beside: tuple[str, ...] = ()


def seal_export(
    folder: Path,
    *,
    fingerprint: str,
    base: str,
    dtype: str,
    parameters: int,
    template: str,
    beside: Collection[str] = (),
) -> ExportManifest:
    """Write the manifest of a finished folder, the last write of an export."""
    files = [
        ExportedFile(name=path.name, size=path.stat().st_size, digest=digest_file(path))
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in (*beside, EXPORT_MANIFEST)
    ]
    manifest = ExportManifest(
        fingerprint=fingerprint,
        base=base,
        dtype=dtype,
        parameters=parameters,
        template=template,
        files=tuple(files),
        beside=tuple(sorted(beside)),
    )
    temporary = folder / f".{EXPORT_MANIFEST}.tmp"
    temporary.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / EXPORT_MANIFEST)
    return manifest


def read_export(folder: Path) -> ExportManifest:
    """Read the manifest of an export folder; :class:`ConfigError` if it is none."""
    path = folder / EXPORT_MANIFEST
    try:
        return ExportManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        what, todo = "no exported model: the manifest is missing", "let the training run finish"
    except ValidationError as error:
        what, todo = f"not an export manifest: {error}", "export the model again"
    raise ConfigError(Problem(str(path), what, todo))


def verify_export(folder: Path) -> ExportManifest:
    """Check every file of a folder against its manifest; :class:`ConfigError` names what differs.

    Reads the weights whole: seconds a gigabyte.
    """
    manifest = read_export(folder)
    problems = []
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file():
            what = "is missing"
        elif path.stat().st_size != file.size:
            what = f"has {path.stat().st_size:,} bytes instead of {file.size:,}"
        elif digest_file(path) != file.digest:
            what = "was changed"
        else:
            continue
        problems.append(Problem(str(path), what, "export the model again, or fetch it anew"))
    if problems:
        raise ConfigError(*problems)
    return manifest


def publish_export(storage: Storage, path: str, folder: Path) -> tuple[PartRef, ...]:
    """Put a sealed folder below the storage root, whole or not at all, and refer to its files.

    On a local disk the folder itself is moved into place with one rename (copied first from
    another file system), so it is gone afterwards; on S3 the files go first and the manifest
    last. A folder that is already there is replaced, unless it is whole and the same.
    """
    manifest = read_export(folder)
    sealed = (folder / EXPORT_MANIFEST).read_bytes()
    names = [*(file.name for file in manifest.files), *manifest.beside, EXPORT_MANIFEST]
    if is_remote(storage.root):
        storage.remove(f"{path}/{EXPORT_MANIFEST}")
        for name in names:
            if (folder / name).is_file():
                storage.upload(f"{path}/{name}", folder / name)
    else:
        _move_into_place(folder, Path(storage.url(path)), sealed)
    digests = {file.name: file.digest for file in manifest.files}
    digests[EXPORT_MANIFEST] = digest_bytes(sealed)
    return tuple(
        refer_to_file(storage, f"{path}/{name}", digest, 0, "file")
        for name, digest in digests.items()
    )


def withdraw_export(storage: Storage, path: str) -> None:
    """Remove an export that must not be used, its manifest first."""
    storage.remove(f"{path}/{EXPORT_MANIFEST}")
    for name in storage.walk(path):
        storage.remove(name)


def _move_into_place(folder: Path, target: Path, sealed: bytes) -> None:
    if folder.resolve() == target.resolve():
        return
    kept = target / EXPORT_MANIFEST
    if kept.is_file() and kept.read_bytes() == sealed and _is_whole(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    ready = target.with_name(f".{target.name}.{mark}.tmp")
    old = target.with_name(f".{target.name}.{mark}.old")
    try:
        folder.rename(ready)
    except OSError:  # another file system
        shutil.copytree(folder, ready)
    if target.exists():
        target.rename(old)
    ready.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        verify_export(folder)
    except ConfigError:
        return False
    return True


def digest_file(path: Path) -> str:
    """Return the digest of a file as manifests hold it, read block by block."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
