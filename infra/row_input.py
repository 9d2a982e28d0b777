"""Reads rows of user data from whatever file format they come in, local or on S3.

JSONL, a JSON array, CSV (each also ``.gz``), Parquet and Arrow; one file, a glob, or a folder
such as a Hugging Face dataset. A row that cannot be read is data, not an error: it comes out as
:class:`BadRow` with the place it stands, so that it can be rejected and counted.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import Problem
from infra.paths import find_path, packaged_configs
from infra.storage import FileStat, digest_input, find_inputs, is_remote, open_input

_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*_ENDINGS, *(f"{ending}.gz" for ending in _ENDINGS), ".parquet", ".arrow")
"""What is read out of a folder; a single file of any other name is taken for JSONL."""

_NOT_DATA = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_PEEKED_ROWS = 20
_BATCH_ROWS = 4_096
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class RawRow:
    """Is one row as it was found; ``origin`` is ``file name:line``, or its number from 1."""

    origin: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BadRow:
    """Is a line that holds no row, and why."""

    origin: str
    detail: str


def find_row_files(source: str) -> list[FileStat]:
    """Find the data files a user named, sorted by path; :class:`FileNotFoundError` if none.

    Local names are looked up in the working folder, then in the packaged configurations. In a
    folder, what Hugging Face writes beside the data (``dataset_info.json``, hidden folders such
    as ``.cache``) is left out.
    """
    address = source if is_remote(source) else _locate(source)
    files = find_inputs(address, SUFFIXES)
    if [stat.path for stat in files] == [address] or _is_glob(address):
        return files
    kept = [stat for stat in files if not _is_aside(stat.path.removeprefix(address))]
    if not kept:
        raise FileNotFoundError(source)
    return kept


def read_rows(source: str) -> Iterator[RawRow | BadRow]:
    """Read every row of a source, file by file.

    Raises :class:`OSError` or :class:`ValueError` (naming the file) for a file that cannot be
    read as a whole: a Parquet file without its footer, a cut gzip stream.
    """
    for stat in find_row_files(source):
        yield from read_file_rows(stat)


def read_file_rows(stat: FileStat) -> Generator[RawRow | BadRow]:
    """Read every row of one file."""
    name = stat.path.rsplit("/", 1)[-1]
    lower = name.lower().removesuffix(".gz")
    try:
        with open_input(stat.path) as file, _unpack(file, name) as data:
            if lower.endswith(".parquet"):
                yield from _read_batches(_open_parquet(data), name)
            elif lower.endswith(".arrow"):
                yield from _read_batches(_open_arrow(data), name)
            else:
                yield from _read_text(data, name, lower)
    except (pa.ArrowException, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{stat.path} cannot be read: {error}") from error


def read_columns(source: str) -> list[str]:
    """Return the columns of the first rows of a source's first file that has any; cheap."""
    for stat in find_row_files(source):
        columns: dict[str, None] = {}
        with closing(read_file_rows(stat)) as rows:
            good = (row for row in rows if isinstance(row, RawRow))
            for row in itertools.islice(good, _PEEKED_ROWS):
                columns.update(dict.fromkeys(row.values))
        if columns:
            return list(columns)
    return []


def check_columns(source: str, key: str) -> tuple[list[str], list[Problem]]:
    """Peek at a source for a check: its columns, and what keeps it from being read."""
    where = f"{key} ({source})"
    try:
        columns = read_columns(source)
    except FileNotFoundError:
        todo = f"looked in {Path.cwd()} and {packaged_configs()}; give a file, a glob or a folder"
        return [], [Problem(where, "no such file, or no data file in it", todo)]
    except (OSError, ValueError) as error:
        return [], [Problem(where, str(error), f"give one of {', '.join(SUFFIXES)}")]
    if not columns:
        return [], [Problem(where, "holds no readable row", "fill it, or give another source")]
    return columns, []


def digest_rows(source: str) -> list[tuple[FileStat, str]]:
    """Return each file of a source with its digest, for the node's fingerprint."""
    return [(stat, digest_input(stat)) for stat in find_row_files(source)]


def _locate(source: str) -> str:
    """Return the absolute address of a local source; links are kept, their names tell formats."""
    given = Path(source).expanduser()
    if given.exists():
        return str(given.absolute())
    found = find_path(source)
    if found is not None or not _is_glob(source):
        return str(found or given.absolute())
    fixed = Path(*itertools.takewhile(lambda part: not _is_glob(part), given.parts))
    base = fixed.absolute() if fixed.exists() else find_path(str(fixed)) or fixed.absolute()
    return str(base / given.relative_to(fixed))


def _is_glob(address: str) -> bool:
    return any(mark in address for mark in "*?[") and not Path(address).exists()


def _is_aside(path: str) -> bool:
    parts = path.split("/")
    return parts[-1] in _NOT_DATA or any(part.startswith(".") for part in parts)


def _unpack(file: BinaryIO, name: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if name.lower().endswith(".gz") else file


def _open_parquet(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    return cast("Iterator[pa.RecordBatch]", pq.ParquetFile(file).iter_batches(_BATCH_ROWS))


def _open_arrow(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Open either Arrow layout: Hugging Face writes the stream, others the file."""
    try:
        return iter(pa.ipc.open_stream(file))
    except pa.ArrowInvalid:
        file.seek(0)
        reader = pa.ipc.open_file(file)
        return (reader.get_batch(i) for i in range(reader.num_record_batches))


def _read_batches(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield RawRow(f"{name}:{number}", values)


def _read_text(file: BinaryIO, name: str, lower: str) -> Iterator[RawRow | BadRow]:
    if lower.endswith((".csv", ".tsv")):
        yield from _read_csv(file, name, "\t" if lower.endswith(".tsv") else ",")
    elif lower.endswith(".json"):
        yield from _read_json(file, name)
    else:
        yield from _read_lines(file, name)


def _read_lines(file: BinaryIO, name: str) -> Iterator[RawRow | BadRow]:
    loads = json.JSONDecoder().decode
    for number, line in enumerate(file, 1):
        origin = f"{name}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            value = loads(text) if text else None
        except (ValueError, RecursionError) as error:
            yield BadRow(origin, f"{error}: {_show(line)}")
            continue
        if text:
            yield _as_row(value, origin)


def _read_json(file: BinaryIO, name: str) -> Iterator[RawRow | BadRow]:
    """Read a JSON array of rows, a mapping with one such array, or JSONL named ``.json``."""
    data = file.read()
    try:
        value: Any = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _read_lines(io.BytesIO(data), name)
        return
    if isinstance(value, dict):
        arrays = [item for item in value.values() if isinstance(item, list)]
        nested = len(arrays) == 1 and all(isinstance(item, dict) for item in arrays[0])
        value = arrays[0] if nested and len(value) == 1 else [value]
    rows = value if isinstance(value, list) else [value]
    for number, item in enumerate(rows, 1):
        yield _as_row(item, f"{name}:{number}")


def _read_csv(file: BinaryIO, name: str, delimiter: str) -> Iterator[RawRow | BadRow]:
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        try:
            header = next(reader, [])
        except csv.Error as error:
            yield BadRow(f"{name}:1", str(error))
            return
        while True:
            origin = f"{name}:{reader.line_num + 1}"
            try:
                fields = next(reader, None)
            except csv.Error as error:
                yield BadRow(origin, str(error))
                continue
            if fields is None:
                return
            if fields:
                yield _join_csv_row(header, fields, origin)


def _join_csv_row(header: list[str], fields: list[str], origin: str) -> RawRow | BadRow:
    if len(fields) != len(header):
        return BadRow(origin, f"{len(fields)} fields, the header has {len(header)}")
    if any(not field.isascii() and _NOT_UTF8.search(field) for field in fields):
        return BadRow(origin, f"not UTF-8: {_show(','.join(fields).encode(errors='replace'))}")
    return RawRow(origin, dict(zip(header, fields, strict=True)))


def _as_row(value: object, origin: str) -> RawRow | BadRow:
    if isinstance(value, dict):
        return RawRow(origin, value)
    if isinstance(value, list):
        # LIMA's own mirrors hold bare conversations: a list stands for itself.
        return RawRow(origin, {"conversations": value})
    return BadRow(origin, f"not an object: {str(value)[:_SHOWN_CHARS]}")


def _show(line: bytes) -> str:
    return line[:_SHOWN_CHARS].decode("utf-8", "replace").strip()
