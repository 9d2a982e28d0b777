"""Names, writes, finds and verifies checkpoints at the storage root.

A checkpoint is a folder ``step-00000050`` below the node's checkpoint folder. Its marker
``whole.json`` is written last, after every rank has said that its files are there, and lists
them with their sizes: a folder without a marker, or with a file missing or cut short, was being
written or removed when something died, and is never taken for whole. Ranks write straight to a
local root; for a root on S3 they write to a scratch folder and upload.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import ConfigError, Problem
from infra.store.storage import Storage, is_remote

MARKER = "whole.json"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointMarker(BaseModel):
    """What a whole checkpoint says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    base: str
    step: int
    ranks: int
    layout: str
    """Where states lie: ``ddp`` in one file, the others (``zero-1``, …) in a shard a rank."""
    files: dict[str, int]
    """Sizes in bytes by path below the folder, the marker left out."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Whole checkpoint: its folder below the storage root, and its marker."""

    folder: str
    marker: CheckpointMarker


def checkpoint_name(step: int) -> str:
    """Return the folder name of a step's checkpoint; names sort by step."""
    return f"step-{step:08d}"


def find_newest(storage: Storage, folder: str, fingerprint: str, base: str) -> Checkpoint | None:
    """Return the newest whole checkpoint of a job, or ``None`` to begin at the beginning.

    Raises :class:`ConfigError` when the newest one was written by another job or from another
    base model: going on from it would train something that its name does not say.
    """
    whole = list_whole(storage, folder)
    if not whole:
        return None
    newest = whole[-1]
    for name, found, wanted in (
        ("job", newest.marker.fingerprint, fingerprint),
        ("base model", newest.marker.base, base),
    ):
        if found != wanted:
            raise ConfigError(
                Problem(
                    storage.url(newest.folder),
                    f"this checkpoint belongs to another {name}: {found}, not {wanted}",
                    f"remove {storage.url(folder)} to train anew, or set training back to what"
                    " wrote it",
                )
            )
    return newest


def list_whole(storage: Storage, folder: str) -> list[Checkpoint]:
    """List the whole checkpoints below a folder, oldest first."""
    whole = []
    for name, sizes in _list_folders(storage, folder).items():
        if MARKER not in sizes:
            continue
        try:
            data = storage.read_bytes(f"{folder}/{name}/{MARKER}")
            marker = CheckpointMarker.model_validate_json(data)
        except (FileNotFoundError, ValidationError):
            continue
        if all(sizes.get(path) == size for path, size in marker.files.items()):
            whole.append(Checkpoint(f"{folder}/{name}", marker))
    return sorted(whole, key=lambda checkpoint: checkpoint.marker.step)


def write_marker(
    storage: Storage, folder: str, *, fingerprint: str, base: str, ranks: int, layout: str
) -> Checkpoint:
    """Declare a step's folder whole; the last write, when all ranks have written."""
    parent, _, name = folder.rpartition("/")
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not the folder of a checkpoint: {folder}")
    sizes = _list_folders(storage, parent).get(name, {})
    marker = CheckpointMarker(
        fingerprint=fingerprint,
        base=base,
        step=int(match.group(1)),
        ranks=ranks,
        layout=layout,
        files={path: size for path, size in sizes.items() if path != MARKER},
    )
    storage.write_bytes(f"{folder}/{MARKER}", marker.model_dump_json(indent=1).encode())
    return Checkpoint(folder, marker)


def prune(storage: Storage, folder: str, keep: int) -> None:
    """Remove all but the newest whole checkpoints, and whatever is not whole."""
    kept = {checkpoint.folder for checkpoint in list_whole(storage, folder)[-keep:]}
    for name in _list_folders(storage, folder):
        if f"{folder}/{name}" not in kept:
            clear_folder(storage, f"{folder}/{name}")


def clear_folder(storage: Storage, folder: str) -> None:
    """Remove all files of a folder, the marker first, so that no half of it looks whole."""
    for path in sorted(storage.walk(folder), key=lambda path: not path.endswith(MARKER)):
        storage.remove(path)
    if not is_remote(storage.root):
        shutil.rmtree(storage.url(folder), ignore_errors=True)


def list_local(folder: Path) -> list[str]:
    """List the files of a local folder by their paths below it."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def upload_files(storage: Storage, folder: str, local: Path, names: Iterable[str]) -> None:
    """Copy files of a scratch folder to the storage root."""
    for name in sorted(names):
        storage.upload(f"{folder}/{name}", local / name)


def download(storage: Storage, checkpoint: Checkpoint, local: Path) -> None:
    """Copy a checkpoint from the storage root to a local folder."""
    for name in checkpoint.marker.files:
        target = local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.download(f"{checkpoint.folder}/{name}", target)


def _list_folders(storage: Storage, folder: str) -> dict[str, dict[str, int]]:
    """Return the sizes of all files by checkpoint folder and path below it."""
    folders: dict[str, dict[str, int]] = {}
    for path in storage.walk(folder):
        name, _, rest = path.removeprefix(f"{folder}/").partition("/")
        if _NAME.fullmatch(name) and rest:
            stat = storage.stat(path)
            if stat is not None:
                folders.setdefault(name, {})[rest] = stat.size
    return folders


def make_universal(source: Path, target: Path) -> None:
    """Turn a sharded checkpoint into one that any number of ranks can load.

    DeepSpeed's converter merges the shards of every parameter, one parameter at a time; it prints,
    and looks at nothing outside the shards, so the trainer's own files are copied.
    """
    import contextlib
    import os
    from argparse import Namespace

    from deepspeed.checkpoint.ds_to_universal import main as convert

    tag = (source / "latest").read_text(encoding="utf-8").strip()
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy2(file, target / file.name)
    options = Namespace(
        input_folder=str(source / tag),
        output_folder=str(target / f"{tag}_universal"),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        convert(options)
