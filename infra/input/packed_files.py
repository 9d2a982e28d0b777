"""Opens a user's file as what its first bytes say it is, and names what holds no rows.

A name is a promise that a download, a browser or a colleague may have broken: a page of HTML saved
in place of a file, a picture, a pointer of Git LFS. So packing (gzip, zstd, bzip2, xz, a zip of one
file), Parquet, Arrow and the encoding of text are told by bytes; only what bytes do not tell is
told by the name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

Kind = Literal["parquet", "arrow", "text"]

PACKINGS = (".gz", ".zst", ".bz2", ".xz", ".lzma", ".lz4", ".zip")
"""The endings of packed files; they say nothing about what is inside."""

_UNREAD_PACKINGS = {".br": "brotli", ".snappy": "snappy", ".sz": "snappy", ".z": "zlib"}
"""Packed files that no first byte tells apart from others: named by their ending."""
_HEAD_BYTES = 1_024
_BUFFER_BYTES = 1 << 16
_MOST_LAYERS = 3
_TAR_MARK = slice(257, 262)
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer; the file itself was not fetched"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a sound, a film or a WebP picture"),
    (b"OggS", "a sound"),
    (b"ID3", "a sound"),
    (b"%PDF-", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"FEA1", "a Feather file of the first version"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"GGUF", "a GGUF model"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
)
_MARKUP = (
    (re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"<\?xml\b", re.IGNORECASE), "an XML document"),
)
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = "utf-8-sig"
_SURE = 0.3
"""Share of zero bytes on one side of the pairs that makes text UTF-16."""


class NotRows(ValueError):
    """A file that holds no rows at all: what it is, and what to do about it."""

    def __init__(self, what: str, todo: str) -> None:
        self.what, self.todo = what, todo
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Opened:
    """File as it is to be read, with the name it has without its packing, in lower case."""

    file: BinaryIO
    kind: Kind
    name: str
    encoding: str


def open_packed(file: BinaryIO, name: str) -> Opened:
    """Unpack a file as often as it is packed, and tell what it holds; :class:`NotRows` if nothing.

    What is cut off or broken inside raises :class:`EOFError` or :class:`OSError` while it is read.
    """
    inner = name.lower()
    for _ in range(_MOST_LAYERS):
        buffered, head = _peek(file)
        unpack = _find_packing(head)
        if unpack is None:
            _refuse_foreign(head)
            _refuse_packing(head, inner)
            return Opened(buffered, _tell_kind(head, inner), inner, _tell_encoding(head))
        file, inside = unpack(buffered)
        inner = inside or _drop_packing(inner)
    raise NotRows("is packed again and again", "unpack it")


def _peek(file: BinaryIO) -> tuple[BinaryIO, bytes]:
    if not isinstance(file, io.BufferedReader):
        # Whatever unpacks has its own reader; this one adds a look ahead, and keeps seeking.
        file = cast(BinaryIO, io.BufferedReader(cast(Any, file), _BUFFER_BYTES))
    return file, cast(io.BufferedReader, file).peek(_HEAD_BYTES)[:_HEAD_BYTES]


def _find_packing(head: bytes) -> Callable[[BinaryIO], tuple[BinaryIO, str]] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda file: (cast(BinaryIO, gzip.open(file)), "")
    if head.startswith(b"BZh"):
        return lambda file: (cast(BinaryIO, bz2.open(file)), "")
    if head.startswith(b"\x04\x22\x4d\x18"):
        return lambda file: (cast(BinaryIO, pa.CompressedInputStream(file, "lz4")), "")
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lambda file: (cast(BinaryIO, lzma.open(file)), "")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return lambda file: (cast(BinaryIO, pa.CompressedInputStream(file, "zstd")), "")
    return _unzip if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) else None


def _drop_packing(name: str) -> str:
    return next((name.removesuffix(end) for end in PACKINGS if name.endswith(end)), name)


def _unzip(file: BinaryIO) -> tuple[BinaryIO, str]:
    archive = zipfile.ZipFile(file)
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if "[Content_Types].xml" in names:
        what = "is an Office document (a workbook of Excel, perhaps)"
        raise NotRows(what, "save its sheet as CSV in UTF-8")
    if any(name.endswith("data.pkl") for name in names):
        raise NotRows("is a PyTorch checkpoint", "give a file of rows")
    names = [name for name in names if not name.startswith(("__MACOSX/", ".")) and "/." not in name]
    if len(names) != 1:
        shown = _join_some(names) or "nothing"
        raise NotRows(f"is a zip archive of {len(names)} files: {shown}", "unpack it, or zip one")
    try:
        return cast(BinaryIO, archive.open(names[0])), names[0].rsplit("/", 1)[-1].lower()
    except RuntimeError as error:
        raise NotRows(f"is a zip archive that cannot be opened: {error}", "unpack it") from error


def _join_some(names: Sequence[str], most: int = 4) -> str:
    more = ", …" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _refuse_foreign(head: bytes) -> None:
    for mark, what in _FOREIGN:
        if head.startswith(mark):
            todo = "fetch it: git lfs pull" if "LFS" in what else "give a file of rows"
            raise NotRows(f"is {what}, not rows", todo)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for pattern, what in _MARKUP:
        if pattern.match(text):
            todo = "download the file itself: a page was saved in its place"
            raise NotRows(f"is {what}, not rows", todo)
    if head[_TAR_MARK] == b"ustar":
        raise NotRows("is a tar archive, not rows", "unpack it, and give the folder")


def _refuse_packing(head: bytes, name: str) -> None:
    end = next((end for end in _UNREAD_PACKINGS if name.endswith(end)), None)
    if end is not None and not head.lstrip().startswith((b"{", b"[")):
        raise NotRows(f"is packed with {_UNREAD_PACKINGS[end]}", "unpack it, or pack it with gzip")


def _tell_kind(head: bytes, name: str) -> Kind:
    if head.startswith(b"PAR1") or name.endswith(".parquet"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or name.endswith(".arrow"):
        return "arrow"
    return "text"


def _tell_encoding(head: bytes) -> str:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if b"\0" not in head:
        return _UTF8
    pairs = len(head) // 2
    if pairs and head[1::2].count(0) / pairs > _SURE:
        return "utf-16-le"
    return "utf-16-be" if pairs and head[::2].count(0) / pairs > _SURE else _UTF8
