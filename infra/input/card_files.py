"""Reads the character card that a picture or an archive holds, within bounds.

Role-play programs keep a card as JSON in a text chunk of a PNG picture, as base64 under the keyword
``ccv3`` (version 3) or ``chara`` (version 2), or as ``card.json`` in a ``.charx`` archive. Nothing
of such a file is trusted: every length is bounded before it is read, and whatever is wrong is a
:class:`Reject` that says what.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from infra.errors import Reject

CARD_SUFFIXES = (".png", ".charx")
NO_CARD = "no_card"
"""The reason of pictures that hold no card, such as those that lie beside the cards."""

MAX_FILE_BYTES = 256 << 20
MAX_CARD_BYTES = 16 << 20
_MAX_PACKED_BYTES = 2 * MAX_CARD_BYTES
_MAX_DEPTH = 64
_MAX_CHUNKS = 100_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORDS = ("ccv3", "chara")
"""Version 3 is asked for first, as its specification says."""
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
_SHOWN_CHARS = 80
_CHARX_CARD = "card.json"


class _BadCard(ValueError):
    """A card that cannot be read: the typed reason, and what a person needs to see."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


def read_card_file(file: BinaryIO, name: str) -> dict[str, Any] | Reject:
    """Read the card of a ``.png`` or ``.charx`` file, as its JSON has it.

    The reasons against it: not_png, truncated, wrong_crc, oversized, broken_text, no_card,
    not_base64, not_json, nested_too_deep, not_charx.
    """
    try:
        if name.lower().endswith(".charx"):
            return _parse(_read_charx(file))
        return _parse(_decode_text(_find_text(file)))
    except _BadCard as bad:
        return Reject(bad.reason, bad.detail)


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_CARD_BYTES:
        raise _BadCard("oversized", f"the card has more than {MAX_CARD_BYTES >> 20} MiB")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise _BadCard("nested_too_deep", "the card is nested too deep") from error
    except ValueError as error:
        raise _BadCard("not_json", f"the card is no JSON: {error}"[:_SHOWN_CHARS]) from error
    if not isinstance(value, dict):
        raise _BadCard("not_json", f"the card is no object: {str(value)[:_SHOWN_CHARS]}")
    if is_too_deep(value):
        raise _BadCard("nested_too_deep", f"the card has more than {_MAX_DEPTH} levels")
    return value


def is_too_deep(value: object) -> bool:
    """Tell data that nests deeper than any card does, so that whoever walks it is safe."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _find_text(file: BinaryIO) -> bytes:
    """Return the text under the best keyword of a PNG; all of its chunks must be there."""
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        raise _BadCard("not_png", "the file is no PNG picture")
    found: dict[str, bytes] = {}
    for kind, body in _read_chunks(file):
        word, separator, rest = body.partition(b"\0")
        keyword = word.decode("latin-1").lower()
        if not separator or keyword not in _KEYWORDS or keyword in found:
            continue
        found[keyword] = _unpack_text(kind, rest)
    for keyword in _KEYWORDS:
        if keyword in found:
            return found[keyword]
    raise _BadCard(NO_CARD, "the picture holds no card: no text chunk ccv3 or chara")


def _read_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the text chunks up to the end mark; of others only the length is looked at."""
    left = MAX_FILE_BYTES
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise _BadCard("truncated", "the picture ends before its end mark")
        length, kind = struct.unpack(">I4s", head)
        left -= length + 12
        if left < 0:
            # A length beyond any picture is a broken one just as well.
            raise _BadCard("oversized", f"a chunk claims {length:,} bytes")
        if kind in _TEXT_KINDS:
            yield kind, _read_text_chunk(file, kind, length)
        else:
            _skip(file, length + 4)
        if kind == b"IEND":
            return
    raise _BadCard("oversized", f"the picture has more than {_MAX_CHUNKS:,} chunks")


def _read_text_chunk(file: BinaryIO, kind: bytes, length: int) -> bytes:
    if length > _MAX_PACKED_BYTES:
        raise _BadCard("oversized", f"a text chunk has {length:,} bytes")
    body, check = file.read(length), file.read(4)
    if len(body) < length or len(check) < 4:
        raise _BadCard("truncated", "the picture ends within a text chunk")
    if zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
        raise _BadCard("wrong_crc", "a text chunk's check sum is wrong")
    return body


def _skip(file: BinaryIO, length: int) -> None:
    """Read past a chunk, block by block: a file may claim more than it has."""
    while length:
        block = file.read(min(length, 1 << 20))
        if not block:
            raise _BadCard("truncated", "the picture ends within a chunk")
        length -= len(block)


def _unpack_text(kind: bytes, rest: bytes) -> bytes:
    """Return the text of a chunk after its keyword."""
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        if rest[:1] != b"\0":
            raise _BadCard("broken_text", "a text chunk is packed in an unknown way")
        return _inflate(rest[1:])
    flags, rest = rest[:2], rest[2:]
    parts = rest.split(b"\0", 2)
    if len(flags) < 2 or len(parts) < 3:
        raise _BadCard("broken_text", "a text chunk ends within its head")
    return _inflate(parts[2]) if flags[0] else parts[2]


def _inflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _MAX_PACKED_BYTES)
    except zlib.error as error:
        raise _BadCard("broken_text", f"a text chunk cannot be unpacked: {error}") from error
    if unpacker.unconsumed_tail:
        raise _BadCard("oversized", f"a text chunk unpacks to over {_MAX_PACKED_BYTES >> 20} MiB")
    if not unpacker.eof:
        raise _BadCard("broken_text", "a packed text chunk ends early")
    return text


def _decode_text(text: bytes) -> bytes:
    """Return the JSON that a chunk holds in base64, or, as some tools write it, as it is."""
    if text.lstrip().startswith(b"{"):
        return text
    packed = b"".join(text.split())
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _BadCard("not_base64", f"the card's text is no base64: {error}") from error


def _read_charx(file: BinaryIO) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_CHARX_CARD) as card:
            data = card.read(MAX_CARD_BYTES + 1)
    except KeyError as error:
        raise _BadCard(NO_CARD, f"the archive holds no {_CHARX_CARD}") from error
    except Exception as error:
        # zipfile raises what its formats' libraries do, down to struct and lzma errors.
        raise _BadCard("not_charx", f"the archive cannot be opened: {error}") from error
    return data
