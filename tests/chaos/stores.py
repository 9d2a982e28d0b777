"""Reads the rows of a store as they lie there, past the product and past a spoilt network.

The product's own reader removes what a merged part replaces; one that only looks must not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow.parquet as pq

_TRIES = 8
_REPLACES = b"opencharacter.replaces"

Rows = dict[str, pl.DataFrame]
"""The committed rows of each stage, sorted by key."""


class Files(Protocol):
    """Files below a root; paths are relative to it."""

    def list(self, folder: str) -> list[str]:
        """List the files below a folder, sorted."""
        ...

    def read(self, path: str) -> bytes:
        """Read a file; :class:`FileNotFoundError` if there is none."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Files below a folder of this machine."""

    root: Path

    def list(self, folder: str) -> list[str]:
        """List the files below a folder, sorted."""
        found = (self.root / folder).rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in found if path.is_file())

    def read(self, path: str) -> bytes:
        """Read a file; :class:`FileNotFoundError` if there is none."""
        return (self.root / path).read_bytes()


@dataclass(frozen=True)
class BucketFiles:
    """Files below a prefix of a bucket, by a client of its own."""

    client: Any
    bucket: str
    prefix: str

    def list(self, folder: str) -> list[str]:
        """List the files below a folder, sorted."""
        whole = f"{self.prefix}/"
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{whole}{folder}/" if folder else whole
        )
        found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return sorted(key.removeprefix(whole) for key in found)

    def read(self, path: str) -> bytes:
        """Read a file; :class:`FileNotFoundError` if there is none."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}")
        except self.client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(path) from error
        data: bytes = answer["Body"].read()
        return data


def list_parts(files: Files, stage: str) -> list[str]:
    """List the parts of a stage, those included that a merged one replaces."""
    return [
        path
        for path in files.list(stage)
        if path.endswith(".parquet") and path.rpartition("/")[2].startswith("part-")
    ]


def read_rows(files: Files, stages: tuple[str, ...]) -> Rows:
    """Read the committed rows of stages, while a run may be merging parts."""
    return {stage: rows for stage in stages if (rows := _read_stage(files, stage)) is not None}


def _read_stage(files: Files, stage: str) -> pl.DataFrame | None:
    for tried in range(_TRIES):
        try:
            parts = {path: files.read(path) for path in list_parts(files, stage)}
        except FileNotFoundError:  # merged meanwhile
            if tried == _TRIES - 1:
                raise
            continue
        replaced = {path for data in parts.values() for path in _list_replaced(data)}
        live = [data for path, data in sorted(parts.items()) if path not in replaced]
        frames = [pl.read_parquet(BytesIO(data)) for data in live]
        return pl.concat(frames).sort("key") if frames else None
    return None


def _list_replaced(data: bytes) -> list[str]:
    metadata = pq.read_schema(BytesIO(data)).metadata or {}
    replaced: list[str] = json.loads(metadata.get(_REPLACES, b"[]"))
    return replaced


def read_exported(files: Files) -> dict[str, bytes]:
    """Read the files of the exported data set by name; its card tells the date."""
    found = [path for path in files.list("export") if path.count("/") == 3]
    names = {path.rpartition("/")[2]: path for path in found if not path.endswith(".md")}
    # A write that was cut short leaves a hidden file, which `gc` removes.
    return {name: files.read(path) for name, path in names.items() if not name.startswith(".")}
