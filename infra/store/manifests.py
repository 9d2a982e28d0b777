"""Writes and reads manifests: the proof that a node is done, and the only way to its rows.

A manifest lies beside the parts it names, as ``<stage>/<recipe key>/<fingerprint>.json``, and is
written last, so its existence means that everything below it is whole. Readers go through a
manifest, never a glob.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from infra.errors import DamagedFile, StoreVersionError
from infra.store.fingerprints import hash_json, node_fingerprint, recipe_key
from infra.store.storage import FileStat, Storage

STORE_FORMAT = 1
STORE_MARKER = "opencharacter-store.json"
_SEAL = "seal"
"""Key of a manifest file under which the digest of all else in it stands."""

_ADDED = {"parents": pl.List(pl.String)}
"""Columns that stores of before do not have: nulls there."""


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartRef(_Plain):
    """Reference to a file of a node as it was when the manifest was written."""

    path: str
    size: int
    token: str
    digest: str
    rows: int
    holds: str = "rows"
    """``rows`` of a row stage; ``accepted``, ``rejected`` or ``file`` of a set stage."""


class Counts(_Plain):
    """Row counts that add up: ``planned == accepted + rejected``; ``made + reused == planned``."""

    planned: int
    accepted: int
    rejected: int
    made: int
    reused: int


class Usage(_Plain):
    """What the rows of a node cost when they were made, whenever that was."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    seconds: float = 0.0


class Manifest(_Plain):
    """Description of one finished node: its rows, what they came from and what they cost."""

    format: int = STORE_FORMAT
    stage: str
    recipe: str
    fingerprint: str
    upstream: dict[str, str]
    identity: dict[str, Any]
    selection: dict[str, Any]
    parts: tuple[PartRef, ...]
    members: PartRef | None
    counts: Counts
    reasons: dict[str, int]
    usage: Usage
    provenance: dict[str, str]
    facts: dict[str, Any] = {}

    @property
    def path(self) -> str:
        """Return where the manifest lies below the storage root."""
        return manifest_path(self.stage, self.recipe, self.fingerprint)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """Node before it runs: all that its fingerprint was made of.

    ``upstream`` maps the names of the nodes it reads to their fingerprints.
    """

    stage: str
    recipe: str
    fingerprint: str
    identity: Mapping[str, Any]
    selection: Mapping[str, Any]
    upstream: Mapping[str, str]

    @classmethod
    def build(
        cls,
        stage: str,
        version: int,
        *,
        identity: Mapping[str, Any],
        selection: Mapping[str, Any],
        upstream: Sequence[NodeSpec] = (),
        sources: Sequence[str] = (),
    ) -> NodeSpec:
        """Name a node from its knobs, the nodes it reads, and the digests of its input files."""
        recipe = recipe_key(stage, version, identity)
        parents = [node.fingerprint for node in upstream]
        named = {**selection, "sources": sorted(sources)} if sources else dict(selection)
        return cls(
            stage=stage,
            recipe=recipe,
            fingerprint=node_fingerprint(recipe, selection, parents, sources),
            identity=identity,
            selection=named,
            upstream={node.stage: node.fingerprint for node in upstream},
        )

    @property
    def by_rows(self) -> bool:
        """Tell whether its rows are made one by one, by asking a model."""
        return "max_attempts" in self.selection

    @property
    def folder(self) -> str:
        """Return the folder of the recipe's parts below the storage root."""
        return stage_folder(self.stage, self.recipe)

    @property
    def manifest_path(self) -> str:
        """Return where the node's manifest lies below the storage root."""
        return manifest_path(self.stage, self.recipe, self.fingerprint)


class NodeRef(_Plain):
    """Where a finished node's manifest lies: what travels between tasks instead of rows."""

    stage: str
    fingerprint: str
    manifest: str
    accepted: int
    rejected: int


def stage_folder(stage: str, recipe: str) -> str:
    """Return the folder of a recipe's parts below the storage root."""
    return f"{stage}/{recipe}"


def manifest_path(stage: str, recipe: str, fingerprint: str) -> str:
    """Return where a node's manifest lies below the storage root."""
    return f"{stage_folder(stage, recipe)}/{fingerprint}.json"


def open_store(storage: Storage) -> None:
    """Claim an empty root for this format, or refuse one that another format wrote."""
    try:
        found = json.loads(storage.read_bytes(STORE_MARKER))["format"]
    except FileNotFoundError:
        storage.write_bytes(STORE_MARKER, json.dumps({"format": STORE_FORMAT}).encode())
        return
    except (ValueError, KeyError, TypeError) as error:
        raise StoreVersionError(
            f"{storage.url(STORE_MARKER)} is not readable as a store marker: {error}. "
            "If nothing else lies in this folder, remove the file; else choose another root."
        ) from error
    if found != STORE_FORMAT:
        raise StoreVersionError(
            f"{storage.root} was written in store format {found}; this version reads format "
            f"{STORE_FORMAT}. Choose another --set storage.root, or use the matching version."
        )


def write_manifest(storage: Storage, manifest: Manifest) -> NodeRef:
    """Write a manifest, the last write of a node, and return the reference that travels on."""
    plain = json.loads(manifest.model_dump_json())
    sealed = {**plain, _SEAL: hash_json(plain)}
    storage.commit(manifest.path, json.dumps(sealed, indent=1, ensure_ascii=False).encode())
    return refer_to(manifest)


def refer_to(manifest: Manifest) -> NodeRef:
    """Return the reference to a manifest."""
    return NodeRef(
        stage=manifest.stage,
        fingerprint=manifest.fingerprint,
        manifest=manifest.path,
        accepted=manifest.counts.accepted,
        rejected=manifest.counts.rejected,
    )


def read_manifest(storage: Storage, path: str) -> Manifest:
    """Read a manifest; :class:`FileNotFoundError` if there is none.

    Raises :class:`StoreVersionError` for what was not written as a manifest of this place: one
    that was edited no longer has the digest that it holds of itself. Those of before have none.
    """
    data = storage.read_bytes(path)
    try:
        plain = json.loads(data)
        seal = plain.pop(_SEAL, None)
        manifest = Manifest.model_validate(plain)
    except (ValueError, AttributeError) as error:  # not JSON, not a mapping, not a manifest
        raise StoreVersionError(f"{storage.url(path)} is not a manifest: {error}") from error
    if manifest.path != path:
        raise StoreVersionError(f"{storage.url(path)} is the manifest of {manifest.path}")
    if seal is not None and seal != hash_json(plain):
        raise StoreVersionError(f"{storage.url(path)} was edited since it was written")
    return manifest


def find_sound_manifest(storage: Storage, path: str) -> Manifest | None:
    """Return a manifest whose files are all there unchanged, or ``None``.

    A file whose size and token (time or ETag) are as recorded is taken as unchanged; when the
    token moved, its digest decides.
    """
    try:
        manifest = read_manifest(storage, path)
    except (FileNotFoundError, StoreVersionError):
        return None
    files = [*manifest.parts, *([manifest.members] if manifest.members else [])]
    listed = _list_folders(storage, {file.path.rsplit("/", 1)[0] for file in files})
    for file in files:
        found = listed.get(file.path)
        if found is None or found.size != file.size:
            return None
        if found.token != file.token and digest_bytes(storage.read_bytes(file.path)) != file.digest:
            return None
    return manifest


def is_done(storage: Storage, node: NodeSpec) -> bool:
    """Tell whether a node is done and its files are as they were."""
    return find_sound_manifest(storage, node.manifest_path) is not None


def write_table(storage: Storage, path: str, table: pa.Table, holds: str = "rows") -> PartRef:
    """Write a table as one Parquet file, atomically, and return its reference."""
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3, write_page_checksum=True)
    return write_file(storage, path, sink.getvalue(), rows=table.num_rows, holds=holds)


def write_file(
    storage: Storage, path: str, data: bytes, *, rows: int = 0, holds: str = "file"
) -> PartRef:
    """Write a file of a node, atomically, and return its reference."""
    storage.write_bytes(path, data)
    return refer_to_file(storage, path, digest_bytes(data), rows, holds)


def refer_to_file(storage: Storage, path: str, digest: str, rows: int, holds: str) -> PartRef:
    """Describe a file that is already written."""
    stat = storage.stat(path)
    if stat is None:
        raise FileNotFoundError(storage.url(path))
    return PartRef(
        path=path, size=stat.size, token=stat.token, digest=digest, rows=rows, holds=holds
    )


def read_tables(
    storage: Storage, parts: Iterable[PartRef], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Read parts into one frame, in the order given; all columns, or those named.

    What was written before there was a column has nulls in it, also where it is named.
    Raises :class:`DamagedFile` for a part that is not what its manifest recorded.
    """
    wanted = list(columns) if columns is not None else None
    frames = [_read_part(storage, part, wanted) for part in parts]
    if not frames:
        return pl.DataFrame()
    widest = max(frames, key=lambda frame: frame.width)
    order = wanted if wanted is not None else widest.columns
    filled = [
        frame.with_columns(
            pl.lit(None, kind).alias(name)
            for name, kind in _ADDED.items()
            if name in order and name not in frame.columns
        ).select(order)
        for frame in frames
    ]
    return pl.concat(filled, how="vertical_relaxed")


def _read_part(storage: Storage, part: PartRef, columns: list[str] | None) -> pl.DataFrame:
    try:
        data = storage.read_bytes(part.path)
    except FileNotFoundError as error:
        raise DamagedFile(storage.url(part.path), part.path, "is gone") from error
    if digest_bytes(data) != part.digest:
        raise DamagedFile(storage.url(part.path), part.path, "is not as it was written")
    if columns is not None and not _ADDED.keys().isdisjoint(columns):
        there = pq.read_schema(BytesIO(data)).names
        columns = [name for name in columns if name in there or name not in _ADDED]
    return pl.read_parquet(BytesIO(data), columns=columns)


def digest_bytes(data: bytes) -> str:
    """Return the digest that manifests record of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _list_folders(storage: Storage, folders: set[str]) -> dict[str, FileStat]:
    return {stat.path: stat for folder in sorted(folders) for stat in storage.list(folder)}
