"""Seals, publishes and fetches exported model folders by their manifest.

An export folder holds ``export.json``, written last, which names every file that decides what the
model does, with size and digest. It holds nothing that two exports of the same weights would not
share (no times, no measures), because its own digest stands for the weights in recipe keys
(:mod:`infra.engines.identity`). What lies beside them for people, such as the card and the curves,
is named only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.engines.identity import EXPORT_MANIFEST
from infra.errors import ConfigError, Problem, StorageError
from infra.fingerprints import hash_parts
from infra.manifests import PartRef, digest_bytes, refer_to_file
from infra.storage import Storage, is_remote

_BLOCK_BYTES = 1 << 22


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportedFile(_Plain):
    """Names a file of an export, its size in bytes and its digest (BLAKE2b, 128 bits)."""

    name: str
    size: int
    digest: str


class ExportManifest(_Plain):
    """Describes an export.

    Attributes:
        fingerprint: The training node that made the weights.
        base: Identity of the model that was fine-tuned (:func:`identify_model`).
        dtype: Number format of the weights.
        parameters: How many numbers the weights are, tied ones counted once.
        template: Name of the chat format.
        files: What decides the model's output.
        beside: What is there for people; absence or change is no fault.
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
        ExportedFile(name=path.name, size=path.stat().st_size, digest=_digest_file(path))
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
        beside=tuple(sorted(name for name in beside if (folder / name).is_file())),
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
        elif _digest_file(path) != file.digest:
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
            storage.upload(f"{path}/{name}", folder / name)
    else:
        _move_into_place(folder, Path(storage.url(path)), sealed)
    digests = {file.name: file.digest for file in manifest.files}
    digests[EXPORT_MANIFEST] = digest_bytes(sealed)
    return tuple(
        refer_to_file(storage, f"{path}/{name}", digest, 0, "file")
        for name, digest in digests.items()
    )


def fetch_export(storage: Storage, path: str) -> Path:
    """Return a local folder that holds the export; S3 objects are kept in the user's cache.

    The cache goes by the manifest's digest, so what is there is right, and a model that was
    exported anew is another folder.
    """
    if not is_remote(storage.root):
        folder = Path(storage.url(path))
        read_export(folder)
        return folder
    try:
        sealed = storage.read_bytes(f"{path}/{EXPORT_MANIFEST}")
    except FileNotFoundError:
        raise ConfigError(
            Problem(storage.url(path), "no exported model there", "let the training run finish")
        ) from None
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    kept = home / "opencharacter" / "models" / hash_parts(sealed.decode())
    if (kept / EXPORT_MANIFEST).is_file():
        return kept
    scratch = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}.tmp")
    scratch.mkdir(parents=True)
    try:
        manifest = ExportManifest.model_validate_json(sealed)
        for file in manifest.files:
            _fetch_file(storage, f"{path}/{file.name}", scratch / file.name, file)
        for name in manifest.beside:
            if storage.stat(f"{path}/{name}") is not None:
                storage.download(f"{path}/{name}", scratch / name)
        (scratch / EXPORT_MANIFEST).write_bytes(sealed)
        _settle(scratch, kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return kept


def _settle(scratch: Path, kept: Path) -> None:
    try:
        scratch.rename(kept)
    except OSError:
        if not (kept / EXPORT_MANIFEST).is_file():  # else another process was faster
            raise


def _fetch_file(storage: Storage, path: str, target: Path, expected: ExportedFile) -> None:
    try:
        storage.download(path, target)
    except FileNotFoundError as error:
        raise StorageError(f"{storage.url(path)} is named by its manifest but gone") from error
    if _digest_file(target) != expected.digest:
        raise StorageError(f"{storage.url(path)} is not what its manifest names; export it anew")


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


def _digest_file(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
