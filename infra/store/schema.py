"""Derives Arrow schemas from record types, and turns records into tables and back."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

R = TypeVar("R")

_SCALARS: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


_POLARS = {
    pa.string(): pl.String,
    pa.int64(): pl.Int64,
    pa.float64(): pl.Float64,
    pa.bool_(): pl.Boolean,
}
_BLOCK = 65_536
"""Rows that are encoded at once."""


def arrow_schema(record: type[Any], *, nullable: bool = False) -> pa.Schema:
    """Return the schema of a frozen dataclass; its field order is the column order."""
    return pa.schema(
        [
            pa.field(name, kind, nullable=nullable or optional)
            for name, kind, optional in _columns(typing.cast(Any, record))
        ]
    )


def to_table(record: type[R], rows: Iterable[R]) -> pa.Table:
    """Encode records as an Arrow table of the record's schema.

    By columns and in blocks: a row at a time would take five times as long, and Arrow's strings
    hold 2 GB a block.
    """
    schema, listed = arrow_schema(record), list(rows)
    hints = _read_hints(typing.cast(Any, record))
    tables = [
        pa.Table.from_arrays(
            [
                _to_array(
                    hints[name], [getattr(row, name) for row in listed[first : first + _BLOCK]]
                )
                for name in schema.names
            ],
            schema=schema,
        )
        for first in range(0, len(listed), _BLOCK)
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _to_array(hint: Any, values: list[Any]) -> pa.Array:
    """Encode the values of one field: lists as one long column, structs column by column.

    Through Polars, as Arrow's own way from a list loads pandas to look at it.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        offsets = pl.Series([0, *map(len, values)], dtype=pl.Int32).cum_sum()
        items = _to_array(arguments[0], [item for value in values for item in value])
        return pa.ListArray.from_arrays(offsets.to_arrow(), items)
    if dataclasses.is_dataclass(hint):
        columns = _columns(typing.cast(Any, hint))
        hints = _read_hints(typing.cast(Any, hint))
        parts = [
            _to_array(hints[name], [getattr(value, name) for value in values])
            for name, _, _ in columns
        ]
        fields = [pa.field(name, kind) for name, kind, _ in columns]
        return pa.StructArray.from_arrays(parts, fields=fields)
    kind, optional = _arrow_type(hint)
    if optional and pa.types.is_nested(kind):
        return pa.array([None if value is None else to_plain(value) for value in values], kind)
    return pl.Series(values, dtype=_POLARS[kind]).to_arrow().cast(kind)


def to_plain(row: Any) -> dict[str, Any]:
    """Turn a record into nested plain data, as Arrow and JSON take it."""
    return dataclasses.asdict(row)


def from_plain(record: type[R], row: dict[str, Any]) -> R:
    """Build a record from plain data; columns the record does not have are left out.

    A field with a default takes it where it is missing or null, as in what was written before.
    A record with more than one kind of rows says by ``choose_record`` which one a row is.
    """
    choose = getattr(record, "choose_record", None)
    record = choose(row) if choose is not None else record
    return record(
        **{
            name: row[name] if hint in _SCALARS else _revive(hint, row[name])
            for name, hint, has_default in _hints(typing.cast(Any, record))
            if not has_default or row.get(name) is not None
        }
    )


@functools.cache
def _hints(record: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, type and whether there is a default, field by field."""
    hints = _read_hints(record)
    return tuple(
        (field.name, hints[field.name], field.default is not dataclasses.MISSING)
        for field in dataclasses.fields(record)
    )


def list_flat_fields(record: type[Any]) -> tuple[str, ...]:
    """Return the fields of a record whose rows are its values as they are; of others none.

    That is one without nested values, defaults, and a choice of records.
    """
    if hasattr(record, "choose_record"):
        return ()
    fields = _hints(typing.cast(Any, record))
    for _, hint, has_default in fields:
        if has_default or pa.types.is_nested(_arrow_type(hint)[0]):
            return ()
    return tuple(name for name, _, _ in fields)


@functools.cache
def _read_hints(record: Any) -> dict[str, Any]:
    """Return the types of a record's fields; Python makes them from their text at every call."""
    return typing.get_type_hints(record)


@functools.cache
def _columns(record: Any) -> tuple[tuple[str, pa.DataType, bool], ...]:
    hints = _read_hints(record)
    return tuple(
        (field.name, *_arrow_type(hints[field.name])) for field in dataclasses.fields(record)
    )


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(item for item in arguments if item is not type(None))
        return _arrow_type(inner)[0], True
    if origin is typing.Literal:
        return _SCALARS[type(arguments[0])], False
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0])[0]), False
    if dataclasses.is_dataclass(hint):
        return pa.struct([(n, k) for n, k, _ in _columns(typing.cast(Any, hint))]), False
    return _SCALARS[hint], False


def _revive(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return _revive(next(item for item in arguments if item is not type(None)), value)
    if origin is tuple:
        return tuple(_revive(arguments[0], item) for item in value)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type[Any], hint), value)
    return value
