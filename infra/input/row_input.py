"""Reads rows of user data from whatever file format they come in, local or on S3.

JSONL, JSON, CSV, Parquet and Arrow, packed or not, in UTF-8 or UTF-16; one file, a glob, or a
folder such as a Hugging Face dataset, of which one split is read. A row that cannot be read is
data, not an error: it comes out as :class:`BadRow` with the place it stands, so that it can be
rejected and counted. A file that cannot be read as a whole is a :class:`ConfigError` naming it.
"""

from __future__ import annotations

import io
import itertools
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import ConfigError, Problem, Reject
from infra.input.card_files import CARD_SUFFIXES, read_card_file
from infra.input.csv_rows import BadHeader, read_csv
from infra.input.dataset_layout import (
    Layout,
    LayoutError,
    choose_files,
    choose_split,
    describe_layout,
    find_split,
    is_aside,
)
from infra.input.json_rows import NotJson, read_json, read_json_lines
from infra.input.packed_files import PACKINGS, NotRows, Opened, open_packed
from infra.paths import find_path, packaged_configs
from infra.store.storage import FileStat, digest_input, find_inputs, is_remote, open_input

_TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_TABLES = (".parquet", ".arrow")
SUFFIXES = (
    *_TEXTS,
    *_TABLES,
    *(f"{ending}{packing}" for ending in _TEXTS for packing in PACKINGS),
)
"""What is read out of a folder; a single file may have any name."""

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_CARD_MARK = re.compile(rb'"(?:chara_card_v\d|first_mes|char_greeting)"')
_CARD_HEAD_BYTES = 1 << 20
_PEEKED_ROWS = 20
_BATCH_ROWS = 4_096
_SHOWN_CHARS = 200
_SHOWN_BAD = 3


@dataclass(frozen=True, slots=True)
class Source:
    """Data set as a person names it.

    Attributes:
        path: A file, a glob or a folder.
        split: Which split of a folder that has several; ``None``: ``train``; ``all``: every one.
        subset: Which configuration of a folder that has several; ``None``: its default.
        likely: Configurations to look for, where none is the default.
        cards: Whether character cards are rows too: pictures and archives that hold one.
    """

    path: str
    split: str | None = None
    subset: str | None = None
    likely: tuple[str, ...] = ()
    cards: bool = False


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it was found; ``origin`` is ``file name:line``, or its number from 1."""

    origin: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BadRow:
    """Line that holds no row, and why: in words, and as a typed reason."""

    origin: str
    detail: str
    reason: str = "malformed"


@dataclass(frozen=True, slots=True)
class Peek:
    """Beginning of a source: its first good rows, and what of it is none."""

    rows: tuple[RawRow, ...]
    bad: tuple[BadRow, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Return all columns of the rows, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))


def find_rows(source: str | Source) -> Layout:
    """Find the data files a user named; :class:`FileNotFoundError` if there are none.

    Local names are looked up in the working folder, then in the packaged configurations. Raises
    :class:`ConfigError` for a folder that has not the split or the configuration asked for.
    """
    wanted = source if isinstance(source, Source) else Source(source)
    address = _find_address(wanted.path)
    if wanted.cards and (cards := _find_cards(address)):
        return Layout(tuple(cards))
    files = find_inputs(address, SUFFIXES)
    try:
        if [stat.path for stat in files] == [address]:
            return Layout(tuple(files))
        if _is_glob(address):
            # A glob says itself which files it means, unless a split is asked for.
            chosen, split = choose_split(files, _tell_split, wanted.split or "all")
            return Layout(tuple(chosen), split)
        layout = choose_files(
            {stat.path.removeprefix(address).lstrip("/"): stat for stat in files},
            lambda name: _read_beside(address, name),
            split=wanted.split,
            subset=wanted.subset,
            likely=wanted.likely,
        )
    except LayoutError as error:
        raise ConfigError(Problem(wanted.path, error.what, error.todo)) from error
    if not layout.files:
        raise FileNotFoundError(wanted.path)
    return layout


def find_row_files(source: str | Source) -> list[FileStat]:
    """Find the data files a user named, sorted by path."""
    return list(find_rows(source).files)


def describe_source(source: Source) -> str:
    """Say in a line which files are read of a source, and which are left aside."""
    told = describe_layout(find_rows(source), _find_address(source.path))
    return source.path if told == "" or told == source.path else f"{source.path}: {told}"


def read_rows(source: str | Source) -> Iterator[RawRow | BadRow]:
    """Read every row of a source, file by file.

    Raises :class:`ConfigError` (naming the file) for a file that cannot be read as a whole: a
    Parquet file without its footer, a cut gzip stream, a picture.
    """
    cards = isinstance(source, Source) and source.cards
    for stat in find_row_files(source):
        yield from read_file_rows(stat, cards=cards)


def read_file_rows(stat: FileStat, *, cards: bool = False) -> Generator[RawRow | BadRow]:
    """Read every row of one file; where ``cards`` are rows, a picture or an archive is one."""
    name = stat.path.rsplit("/", 1)[-1].encode("utf-8", "replace").decode()
    if cards and name.lower().endswith(CARD_SUFFIXES):
        yield _read_card(stat, name)
        return
    try:
        with open_input(stat.path) as file:
            yield from _read_opened(open_packed(file, name), name)
    except (NotRows, BadHeader, NotJson) as error:
        todo = getattr(error, "todo", "fix it")
        raise ConfigError(Problem(stat.path, str(error), todo)) from error
    except (EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(_tell_cut(stat.path, error)) from error
    except (pa.ArrowException, zlib.error, lzma.LZMAError, UnicodeError, OSError) as error:
        if "runcated" in str(error):
            raise ConfigError(_tell_cut(stat.path, error)) from error
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        todo = f"give a sound file: one of {', '.join((*_TEXTS, *_TABLES))}"
        raise ConfigError(Problem(stat.path, what, todo)) from error


def peek_rows(source: str | Source, rows: int = _PEEKED_ROWS) -> Peek:
    """Return the first rows of a source's first file that has any; cheap."""
    bad: list[BadRow] = []
    cards = isinstance(source, Source) and source.cards
    for stat in find_row_files(source):
        good: list[RawRow] = []
        with closing(read_file_rows(stat, cards=cards)) as found:
            for row in found:
                if isinstance(row, BadRow):
                    bad.append(row)
                    continue
                good.append(row)
                if len(good) == rows:
                    break
        if good:
            return Peek(tuple(good), tuple(bad))
    return Peek((), tuple(bad))


def read_columns(source: str | Source) -> list[str]:
    """Return the columns of the first rows of a source's first file that has any; cheap."""
    return peek_rows(source).columns


def check_rows(source: str | Source, key: str) -> tuple[Peek, list[Problem]]:
    """Peek at a source for a check: its first rows, and what keeps it from being read."""
    path = source.path if isinstance(source, Source) else source
    where = f"{key} ({path})"
    try:
        peek = peek_rows(source)
    except FileNotFoundError:
        todo = f"looked in {Path.cwd()} and {packaged_configs()}; give a file, a glob or a folder"
        return Peek(()), [Problem(where, "no such file, or no data file in it", todo)]
    except ConfigError as error:
        return Peek(()), [_tell_where(where, path, item) for item in error.problems]
    except OSError as error:
        return Peek(()), [Problem(where, str(error), f"give one of {', '.join(SUFFIXES)}")]
    if peek.rows:
        return peek, []
    if not peek.bad:
        what = "holds no readable row: it is empty"
        return peek, [Problem(where, what, "fill it, or give another source")]
    shown = "; ".join(f"{row.origin}: {row.detail}" for row in peek.bad[:_SHOWN_BAD])
    what = f"holds no readable row; none of its {len(peek.bad):,} lines is one: {shown}"
    todo = "give one JSON object per line; CSV is told by its name, .csv or .tsv"
    if any(row.origin.lower().endswith(CARD_SUFFIXES) for row in peek.bad):
        todo = "give pictures or archives as a chat program exports characters, whole"
    return peek, [Problem(where, what, todo)]


def check_columns(source: str | Source, key: str) -> tuple[list[str], list[Problem]]:
    """Peek at a source for a check: its columns, and what keeps it from being read."""
    peek, problems = check_rows(source, key)
    return peek.columns, problems


def digest_rows(source: str | Source) -> list[tuple[FileStat, str]]:
    """Return each file of a source with its digest, for the node's fingerprint."""
    return [(stat, digest_input(stat)) for stat in find_row_files(source)]


def _find_cards(address: str) -> list[FileStat]:
    """Return the cards of a folder, if it is one of cards.

    It is if it has no other data, and a picture or an archive, or JSON that is a card: then names
    such as ``Val.json`` tell no split, and the pictures of a data set are none of its rows.
    """
    if _is_glob(address) or address.lower().endswith((*SUFFIXES, *CARD_SUFFIXES)):
        return []
    try:
        found = find_inputs(address, (*SUFFIXES, *CARD_SUFFIXES))
    except FileNotFoundError:
        return []
    if [stat.path for stat in found] == [address]:
        return []
    files = [stat for stat in found if not is_aside(stat.path.removeprefix(address).lstrip("/"))]
    texts = [stat for stat in files if not stat.path.lower().endswith(CARD_SUFFIXES)]
    if not all(stat.path.lower().endswith(".json") for stat in texts):
        return []
    return files if not texts or any(map(_is_card, texts[:_PEEKED_ROWS])) else []


def _is_card(stat: FileStat) -> bool:
    try:
        with open_input(stat.path) as file:
            head = file.read(_CARD_HEAD_BYTES)
    except OSError:
        return False
    return _CARD_MARK.search(head) is not None


def _read_card(stat: FileStat, name: str) -> RawRow | BadRow:
    try:
        with open_input(stat.path) as file:
            card = read_card_file(file, name)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise ConfigError(Problem(stat.path, what, "give a sound file")) from error
    if isinstance(card, Reject):
        return BadRow(name, f"{name}: {card.detail}", card.reason)
    return RawRow(name, card)


def _tell_where(where: str, path: str, problem: Problem) -> Problem:
    name = problem.where.rsplit("/", 1)[-1]
    told = "" if problem.where == path and not Path(path).is_file() else f"{name} "
    return Problem(where, f"{told}{problem.what}", problem.todo)


def _tell_cut(path: str, error: Exception) -> Problem:
    what = f"cannot be read: it ends early, or is broken inside ({str(error).rstrip('.')})"
    return Problem(path, what, "copy or download it again, whole")


def _tell_split(stat: FileStat) -> str | None:
    return find_split("/".join(stat.path.split("/")[-2:]))


def _read_beside(address: str, name: str) -> str:
    try:
        with open_input(f"{address.rstrip('/')}/{name}") as file:
            return file.read().decode("utf-8", "replace")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return ""


def _find_address(source: str) -> str:
    return source if is_remote(source) else _locate(source)


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


def _read_opened(opened: Opened, name: str) -> Iterator[RawRow | BadRow]:
    if opened.kind == "text":
        yield from _read_text(opened, name)
        return
    file = opened.file
    if not file.seekable():
        file = io.BytesIO(file.read())
    schema, batches = _open_parquet(file) if opened.kind == "parquet" else _open_arrow(file)
    twice = [column for column, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise BadHeader(f"has two columns named {twice[0]!r}")
    yield from _read_batches(batches, name)


def _open_parquet(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    found = pq.ParquetFile(file)
    batches = cast("Iterator[pa.RecordBatch]", found.iter_batches(_BATCH_ROWS))
    return found.schema_arrow, batches


def _open_arrow(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Open either Arrow layout: Hugging Face writes the stream, others the file."""
    try:
        stream = pa.ipc.open_stream(file)
        return stream.schema, iter(stream)
    except pa.ArrowInvalid:
        file.seek(0)
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        return reader.schema, batches


def _read_batches(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        for values in _spell_bytes(batch).to_pylist():
            number += 1
            yield RawRow(f"{name}:{number}", values)


def _spell_bytes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with its columns of bytes as text, where they are text.

    Some writers do not say of a column that its bytes are UTF-8.
    """
    for place, field in enumerate(batch.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            try:
                text = batch.column(place).cast(pa.large_string())
            except pa.ArrowInvalid:
                continue  # a picture, a sound
            batch = batch.set_column(place, field.name, text)
    return batch


def _read_text(opened: Opened, name: str) -> Iterator[RawRow | BadRow]:
    if opened.name.endswith((".csv", ".tsv")):
        yield from _read_csv(opened, name)
        return
    read = read_json if opened.name.endswith(".json") else read_json_lines
    for line, value, detail in read(opened.file, opened.encoding):
        origin = f"{name}:{line}"
        yield BadRow(origin, detail) if value is None else RawRow(origin, value)


def _read_csv(opened: Opened, name: str) -> Iterator[RawRow | BadRow]:
    delimiter = "\t" if opened.name.endswith(".tsv") else ","
    with io.TextIOWrapper(
        opened.file, opened.encoding, errors="surrogateescape", newline=""
    ) as text:
        for row in read_csv(text, delimiter):
            origin = f"{name}:{row.line}"
            if row.values is None:
                yield BadRow(origin, row.detail)
            elif broken := next(filter(_is_broken, row.values.values()), None):
                shown = broken.encode(errors="replace")[:_SHOWN_CHARS].decode()
                yield BadRow(origin, f"not UTF-8: {shown}")
            else:
                yield RawRow(origin, row.values)


def _is_broken(field: str) -> bool:
    return not field.isascii() and _NOT_UTF8.search(field) is not None
