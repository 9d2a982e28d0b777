"""Checks a whole store: every manifest, every file it names to the last byte, every member row.

Nothing is repaired here. What a manifest says is compared with what is there; files that no
manifest names are counted, not blamed: committed rows of unfinished nodes are such files. A file
that was damaged without a trace is touched: runs read whole only what has another time or size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.key_index import is_index
from infra.store.manifests import STORE_FORMAT, STORE_MARKER, Manifest, PartRef, read_tables
from infra.store.row_store import IDENTITY_COLUMNS
from infra.store.storage import FileStat, Storage, digest_input, is_remote
from infra.store.survey import Survey, is_row_part, split_path
from infra.temporary_folders import temporary_folder


@dataclass(frozen=True, slots=True)
class Fault:
    """Something unsound: where it is, and what is wrong."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Examined:
    """How far a check has come, in files and bytes."""

    files: int
    all_files: int
    size: int
    all_size: int


@dataclass(frozen=True, slots=True)
class Soundness:
    """What a check found; ``loose`` are files of stages that no manifest names."""

    faults: tuple[Fault, ...]
    loose: tuple[FileStat, ...]
    manifests: int
    files: int
    size: int


def check_store(
    storage: Storage, survey: Survey, on_progress: Callable[[Examined], None]
) -> Soundness:
    """Check everything; reads every named file whole: about a second a gigabyte on a local disk."""
    named = _list_named(survey.manifests)
    faults = [*_check_marker(storage)]
    faults += [Fault(path, f"is no manifest: {why}") for path, why in survey.unreadable.items()]
    digests: dict[str, str] = {}
    present = {path: survey.files[path].size for path in named if path in survey.files}
    done = 0
    for number, (path, size) in enumerate(sorted(present.items()), start=1):
        digests[path] = digest_stored(storage, path)
        done += size
        on_progress(Examined(number, len(present), done, sum(present.values())))
    for manifest in survey.manifests.values():
        faults += _check_manifest(storage, survey, manifest, digests)
    loose = [
        stat
        for path, stat in survey.files.items()
        if split_path(path) and path not in named and path not in survey.manifests
    ]
    faults += _check_loose_rows(storage, loose)
    return Soundness(
        faults=tuple(faults),
        loose=tuple(loose),
        manifests=len(survey.manifests),
        files=len(present),
        size=done,
    )


def digest_stored(storage: Storage, path: str) -> str:
    """Return the digest that manifests record of a file, without holding it in memory."""
    if not is_remote(storage.root):
        return digest_input(FileStat(storage.url(path), 0, ""))
    with temporary_folder("verify") as scratch:
        copy = scratch / "file"
        storage.download(path, copy)
        return digest_input(FileStat(str(copy), 0, ""))


def _list_named(manifests: Mapping[str, Manifest]) -> set[str]:
    return {part.path for manifest in manifests.values() for part in _list_files(manifest)}


def _list_files(manifest: Manifest) -> list[PartRef]:
    return [*manifest.parts, *([manifest.members] if manifest.members else [])]


def _check_marker(storage: Storage) -> Iterator[Fault]:
    try:
        found = json.loads(storage.read_bytes(STORE_MARKER))["format"]
    except FileNotFoundError:
        yield Fault(STORE_MARKER, "is missing: this does not say that it is a store")
    except (ValueError, KeyError, TypeError) as error:
        yield Fault(STORE_MARKER, f"cannot be read: {error}")
    else:
        if found != STORE_FORMAT:
            yield Fault(STORE_MARKER, f"says format {found}, not {STORE_FORMAT}")


def _check_manifest(
    storage: Storage, survey: Survey, manifest: Manifest, digests: Mapping[str, str]
) -> Iterator[Fault]:
    path, counts = manifest.path, manifest.counts
    if counts.planned != counts.accepted + counts.rejected:
        yield Fault(
            path,
            f"does not add up: {counts.planned} planned, {counts.accepted} accepted, "
            f"{counts.rejected} rejected",
        )
    if sum(manifest.reasons.values()) != counts.rejected:
        yield Fault(path, f"names reasons for other than {counts.rejected} rejected rows")
    whole = True
    for part in _list_files(manifest):
        what = _compare_file(storage, survey, part, digests)
        if what:
            whole = False
            yield Fault(part.path, f"{what} (named by {path})")
    if whole and manifest.members is not None:
        yield from _check_members(storage, manifest)


def _compare_file(
    storage: Storage, survey: Survey, part: PartRef, digests: Mapping[str, str]
) -> str:
    found = survey.files.get(part.path)
    if found is None:
        return "is missing"
    if found.size != part.size:
        return f"has {found.size:,} bytes instead of {part.size:,}"
    if digests[part.path] == part.digest:
        return ""
    if found.token == part.token and not is_remote(storage.root):
        with suppress(OSError):  # who may only read the store cannot run in it either
            Path(storage.url(part.path)).touch()
    return "was changed"


def _check_members(storage: Storage, manifest: Manifest) -> Iterator[Fault]:
    """Every member must be in a part by key and digest, and no member twice."""
    assert manifest.members is not None
    members = read_tables(storage, [manifest.members], IDENTITY_COLUMNS)
    if members["key"].n_unique() != members.height:
        yield Fault(manifest.members.path, "names a row twice")
    if members.height != manifest.counts.planned:
        yield Fault(
            manifest.members.path,
            f"names {members.height} rows, its manifest plans {manifest.counts.planned}",
        )
    if not members.height:
        return
    rows = read_tables(storage, manifest.parts, IDENTITY_COLUMNS)
    if rows.is_empty():
        rows = pl.DataFrame(schema=dict.fromkeys(IDENTITY_COLUMNS, pl.String))
    lost = members.join(rows, on=list(IDENTITY_COLUMNS), how="anti").height
    if lost:
        yield Fault(manifest.path, f"{lost} of its {members.height} rows are in none of its parts")


def _check_loose_rows(storage: Storage, loose: list[FileStat]) -> Iterator[Fault]:
    """Rows that no manifest names yet are read by the next run, so they must be readable."""
    for stat in loose:
        place = split_path(stat.path)
        if place is None or not (is_row_part(place[1]) or is_index(stat)):
            continue
        try:
            pq.read_table(BytesIO(storage.read_bytes(stat.path)), columns=list(IDENTITY_COLUMNS))
        except FileNotFoundError:  # merged into another part since it was listed
            continue
        except (pa.ArrowException, OSError) as error:
            yield Fault(stat.path, f"is no readable part: {error}")
