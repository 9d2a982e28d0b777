"""Reads the footer or some columns of a Parquet file in the store, in as few requests as it takes.

On S3 every request costs a round trip and every byte its time. A small file is read whole, in one
request; of a large one come the footer, then the stretch of the wanted columns: two.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import DamagedFile
from infra.store.storage import FileStat, Storage

WHOLE_BYTES = 1 << 20
"""Up to here a file is read whole: what a round trip takes, a megabyte takes as well."""

_TAIL_BYTES = 64 << 10
_GAP_BYTES = 256 << 10
_MAGIC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Columns:
    """What was read: the rows, and the file's own key-value metadata."""

    frame: pl.DataFrame
    metadata: Mapping[bytes, bytes]


@contextmanager
def naming_damage(storage: Storage, path: str) -> Iterator[None]:
    """Turn what Arrow or Polars say of a broken file into :class:`DamagedFile`, which names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise DamagedFile(storage.url(path), path, f"is damaged ({said})") from error


def read_columns(storage: Storage, stat: FileStat, columns: Sequence[str]) -> Columns:
    """Read some columns of all rows. Columns that stand together cost one request.

    Raises :class:`DamagedFile` for a file that is not whole.
    """
    with naming_damage(storage, stat.path):
        return _read_columns(storage, stat, columns)


def _read_columns(storage: Storage, stat: FileStat, columns: Sequence[str]) -> Columns:
    file = _Stretches(storage, stat)
    footer = file.load_footer()
    if stat.size > WHOLE_BYTES:
        for start, end in _find_stretches(footer, columns):
            file.load(start, end)
    whole = pq.ParquetFile(file, metadata=footer, page_checksum_verification=True)
    table = whole.read(columns=list(columns))
    if lacking := set(columns).difference(table.column_names):
        raise ValueError(f"no column {', '.join(sorted(lacking))}")
    frame = pl.from_arrow(table.replace_schema_metadata(None))
    assert isinstance(frame, pl.DataFrame)
    return Columns(frame, footer.metadata or {})


def read_metadata(storage: Storage, stat: FileStat) -> Mapping[bytes, bytes]:
    """Read the key-value metadata alone; :class:`DamagedFile` where the file is not whole."""
    with naming_damage(storage, stat.path):
        return _Stretches(storage, stat).load_footer().metadata or {}


class _Stretches(io.RawIOBase):
    """File of which some stretches are in memory; what else is asked for is fetched."""

    def __init__(self, storage: Storage, stat: FileStat) -> None:
        super().__init__()
        self._storage, self._path, self._size = storage, stat.path, stat.size
        self._loaded: list[tuple[int, bytes]] = []
        self._at = 0
        if stat.size <= WHOLE_BYTES:
            self._loaded.append((0, storage.read_bytes(stat.path)))

    def load(self, start: int, end: int) -> None:
        """Have a stretch in memory."""
        if self._find(start, end) is None:
            data = self._storage.read_range(self._path, start, end - start)
            self._loaded.append((start, data))

    def load_footer(self) -> pq.FileMetaData:
        """Have the footer in memory and return what it says."""
        start = max(0, self._size - _TAIL_BYTES)
        self.load(start, self._size)
        tail = self._find(start, self._size) or b""
        length = int.from_bytes(tail[-_MAGIC_BYTES:-4], "little") + _MAGIC_BYTES
        start = max(0, self._size - length)
        self.load(start, self._size)
        # Given the file, Arrow would read 64 KB of its end, whatever the footer's length.
        return pq.read_metadata(io.BytesIO(self._find(start, self._size) or b""))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        self.load(self._at, end)
        data = self._find(self._at, end) or b""
        self._at = end
        return data

    def _find(self, start: int, end: int) -> bytes | None:
        for at, data in self._loaded:
            if at <= start and end <= at + len(data):
                return data[start - at : end - at]
        return None


def _find_stretches(footer: pq.FileMetaData, columns: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Return where the columns lie, from byte to byte; near neighbours are one stretch.

    Arrow ends the process at a column whose type is not that of the schema (seen with flipped bits
    of footers), so small files, which are mostly footer, are not asked.
    """
    places = []
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group)
        for index in range(rows.num_columns):
            chunk = rows.column(index)
            if chunk.path_in_schema.split(".")[0] in columns:
                start = min(
                    chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset
                )
                places.append((start, start + chunk.total_compressed_size))
    places.sort()
    while places:
        start, end = places.pop(0)
        while places and places[0][0] - end <= _GAP_BYTES:
            end = max(end, places.pop(0)[1])
        yield start, end
