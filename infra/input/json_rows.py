"""Reads JSON rows: one object per line, an array of them, or a mapping that holds such an array."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

_SHOWN_CHARS = 200
_ROWS = ("data", "rows", "train", "examples", "items", "instances", "records")
_TURN_KEYS = ("role", "from", "content", "value")

JsonRow = tuple[int, Mapping[str, object] | None, str]
"""A row's line, or its number from 1, its values, and, where it has none, why."""


class NotJson(ValueError):
    """A text that was to be JSON as a whole, and is none."""

    todo = "fix it at that place, or copy it again if it ends early"


class _Doubled(dict[str, object]):
    """A row in which a key is given twice: which of the values is meant, nobody can tell."""

    key = ""


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) == len(pairs):
        return built
    doubled, seen = _Doubled(built), set[str]()
    for key, _ in pairs:
        if key in seen:
            doubled.key = key
        seen.add(key)
    return doubled


_decode = json.JSONDecoder(object_pairs_hook=_build_object).decode


def read_json_lines(file: BinaryIO, encoding: str) -> Iterator[JsonRow]:
    """Read one row per line; a text that is JSON only as a whole is read as such."""
    lines = _split_lines(file, encoding)
    before: list[bytes] = []
    for line in lines:
        before.append(line)
        if line.strip():
            break
    first = before[-1] if before else b""
    if first.lstrip(b"\xef\xbb\xbf \t").startswith((b"[", b"{")) and not _is_json(first):
        before.extend(lines)
        try:
            value = _decode(b"".join(before).decode("utf-8-sig"))
        except (ValueError, RecursionError):
            yield from _read_each(before)
        else:
            yield from _list_rows(value)
        return
    yield from _read_each(_chain(before, lines))


def read_json(file: BinaryIO, encoding: str) -> Iterator[JsonRow]:
    """Read an array of rows, a mapping with one such array, columns, or JSONL named ``.json``.

    Raises :class:`NotJson` for what is neither: an array that ends early, say.
    """
    data = file.read()
    try:
        text = data.decode(encoding)
        value = _decode(text)
    except (ValueError, RecursionError) as error:
        lines = list(_split_lines(io.BytesIO(data), encoding))
        first = next((line for line in lines if line.strip()), b"")
        start = first.lstrip(b"\xef\xbb\xbf \t").rstrip()
        if not _is_json(first) and (start.startswith(b"[") or start == b"{"):
            raise NotJson(f"is no JSON as a whole: {_explain(error)}") from error
        yield from _read_each(lines)
        return
    yield from _list_rows(value)


def _chain(before: Iterable[bytes], after: Iterable[bytes]) -> Iterator[bytes]:
    yield from before
    yield from after


def _split_lines(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the lines in UTF-8; only line feeds end them, for JSON may hold all other breaks."""
    if encoding == "utf-8-sig":
        yield from file
        return
    with io.TextIOWrapper(file, encoding, errors="replace", newline="\n") as text:
        for line in text:
            yield line.encode("utf-8", "surrogatepass")


def _read_each(lines: Iterable[bytes]) -> Iterator[JsonRow]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            value = _decode(text)
        except (ValueError, RecursionError) as error:
            yield number, None, f"no JSON ({_explain(error)}): {_show(line)}"
            continue
        yield _read_row(number, value)


def _show(line: bytes) -> str:
    """Return the beginning of a line as people can read it, whatever its bytes are."""
    text = line[:_SHOWN_CHARS].decode("utf-8", "replace").strip()
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in text)


def _is_json(line: bytes) -> bool:
    try:
        _decode(line.decode("utf-8-sig").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _explain(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _list_rows(value: Any) -> Iterator[JsonRow]:
    if isinstance(value, dict):
        value = _find_rows(value)
    rows = value if isinstance(value, list) else [value]
    for number, item in enumerate(rows, 1):
        yield _read_row(number, item)


def _find_rows(value: dict[str, Any]) -> list[Any]:
    """Return the rows that a mapping holds, in an array or as columns, or the mapping as one."""
    arrays = {
        key: item
        for key, item in value.items()
        if isinstance(item, list) and item and all(isinstance(one, dict) for one in item)
    }
    named = [item for key, item in arrays.items() if key.lower() in _ROWS]
    if len(named) == 1:
        return list(named[0])
    if len(arrays) == 1 and len(value) == 1:
        (only,) = arrays.values()
        if not any(key in only[0] for key in _TURN_KEYS):
            return list(only)
    return _turn_columns(value) or [value]


def _turn_columns(value: dict[str, Any]) -> list[Any]:
    """Return the rows of columns as pandas writes them, each a list or a mapping of row numbers."""
    columns = list(value.values())
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and len(value) <= 3:
        if all(isinstance(row, list) and len(row) == len(names) for row in data):
            return [dict(zip(map(str, names), row, strict=True)) for row in data]
        return []
    if len(columns) >= 2 and all(isinstance(column, list) for column in columns):
        size = {len(column) for column in columns}
        plain = not any(isinstance(item, dict | list) for column in columns for item in column)
        if len(size) == 1 and plain:
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if len(columns) < 2 or not all(isinstance(column, dict) for column in columns):
        return []
    keys = list(columns[0])
    numbered = all(key.isdigit() for key in keys)
    if not numbered or any(list(column) != keys for column in columns):
        return []
    return [{name: column[key] for name, column in value.items()} for key in keys]


def _read_row(number: int, value: object) -> JsonRow:
    if isinstance(value, _Doubled):
        return number, None, f"the key {value.key!r} is given twice"
    if isinstance(value, dict):
        return number, value, ""
    if isinstance(value, list):
        # LIMA's own mirrors hold bare conversations: a list stands for itself.
        return number, {"conversations": value}, ""
    return number, None, f"not an object: {str(value)[:_SHOWN_CHARS]}"
