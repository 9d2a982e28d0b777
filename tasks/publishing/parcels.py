"""Packs what a run exported into parcels: the files of one repository and where they lie.

Packing reads manifests and cards only, so that a dry run says exactly what a push would send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from infra.models.exported import EXPORT_MANIFEST, ExportManifest
from infra.store.manifests import Manifest
from infra.store.storage import Storage

Kind = Literal["dataset", "model"]

CARD_FILE = "README.md"
_CARD_LINES = 30
_OURS: dict[Kind, tuple[str, ...]] = {
    "dataset": ("synthetic_character.*", "synthetic_dialogue.*", "sft_*.parquet", "sft_*.jsonl"),
    "model": ("model*.safetensors", "model*.safetensors.index.json", "chat_template.jinja"),
}
"""How our exports name files that a later export may lack; of these, old ones are removed."""


@dataclass(frozen=True, slots=True)
class ParcelFile:
    """File to push.

    Attributes:
        name: Its path in the repository.
        path: Where it lies below the storage root.
        size: In bytes.
        digest: What a manifest recorded of its content; empty where none did.
    """

    name: str
    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything that goes to one repository, the card included."""

    kind: Kind
    repository: str
    files: tuple[ParcelFile, ...]
    card: str

    @property
    def size(self) -> int:
        """Return how many bytes it is."""
        return sum(file.size for file in self.files)


def pack_dataset(storage: Storage, repository: str, export: Manifest) -> Parcel:
    """Pack the folder that the export wrote."""
    folder = str(export.facts["folder"])
    files = [
        ParcelFile(part.path.removeprefix(f"{folder}/"), part.path, part.size, part.digest)
        for part in export.parts
        if part.path.startswith(f"{folder}/")
    ]
    return _close("dataset", repository, files, _read_card(storage, folder))


def pack_model(storage: Storage, repository: str, training: Manifest) -> Parcel:
    """Pack the exported model: what its own manifest names, and what lies beside for people."""
    folder = str(training.facts["export"])
    recorded = {part.path: part.digest for part in training.parts}
    own = f"{folder}/{EXPORT_MANIFEST}"
    sealed = storage.read_bytes(own)
    manifest = ExportManifest.model_validate_json(sealed)
    files = [
        ParcelFile(file.name, f"{folder}/{file.name}", file.size, file.digest)
        for file in manifest.files
    ]
    files.append(ParcelFile(EXPORT_MANIFEST, own, len(sealed), recorded.get(own, "")))
    for name in manifest.beside:
        stat = storage.stat(f"{folder}/{name}")
        if stat is not None:
            files.append(ParcelFile(name, stat.path, stat.size, ""))
    return _close("model", repository, files, _read_card(storage, folder))


def find_stale(parcel: Parcel, present: Sequence[str]) -> list[str]:
    """Return which files of a repository an earlier export left there and this one has not."""
    sent = {file.name for file in parcel.files}
    return sorted(
        name
        for name in present
        if name not in sent
        and "/" not in name
        and any(fnmatchcase(name, pattern) for pattern in _OURS[parcel.kind])
    )


def describe_parcels(parcels: Sequence[Parcel], *, endpoint: str | None, private: bool) -> str:
    """Describe in Markdown what would be pushed: repositories, files, sizes, heads of the cards."""
    lines = [f"Hub: {endpoint or 'HF_ENDPOINT, or else the public hub'}", ""]
    for parcel in parcels:
        lines += _describe_parcel(parcel, private)
    return "\n".join(lines).rstrip() + "\n"


def _describe_parcel(parcel: Parcel, private: bool) -> Iterator[str]:
    manner = "private, made if missing" if private else "public if it has to be made"
    count = len(parcel.files)
    yield f"## {parcel.kind} {parcel.repository} ({manner})"
    yield ""
    yield "| file | bytes |"
    yield "|---|---|"
    for file in parcel.files:
        yield f"| {file.name} | {file.size:,} |"
    yield f"| {count} files | {parcel.size:,} |"
    yield ""
    card = parcel.card.splitlines()
    fence = "`" * max(4, 1 + max(map(len, re.findall("`+", parcel.card)), default=0))
    yield f"{fence}text"
    yield from card[:_CARD_LINES]
    if len(card) > _CARD_LINES:
        yield f"… {len(card) - _CARD_LINES} more lines"
    yield fence
    yield ""


def _close(kind: Kind, repository: str, files: Sequence[ParcelFile], card: str) -> Parcel:
    return Parcel(kind, repository, tuple(sorted(files, key=lambda file: file.name)), card)


def _read_card(storage: Storage, folder: str) -> str:
    try:
        return storage.read_bytes(f"{folder}/{CARD_FILE}").decode()
    except FileNotFoundError:
        return ""
