"""Declares what a knob changes: the rows, which rows, or nothing at all.

Every field of a configuration model is one of three:

* **identity** changes rows (prompts, model, sampling, schema) and enters the recipe key;
* **selection** changes which rows are made (M, n, limits) and enters the node fingerprint;
* **execution** changes nothing (windows, parallelism, timeouts, paths, addresses) and enters
  neither, so that engines may tune it and no cache notices.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Kind = Literal["identity", "selection", "execution"]


def identity(
    default: Any = ..., *, description: str, later: bool = False, **constraints: Any
) -> Any:
    """Declare a knob that changes the rows themselves.

    One that came ``later`` than rows that people have counts only where it is not at its default,
    so that their recipes keep their names.
    """
    return _knob("identity", default, description, constraints, later=later)


def selection(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a knob that changes which rows are made, never what is in them."""
    return _knob("selection", default, description, constraints)


def execution(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a knob that changes nothing but how the work is carried out."""
    return _knob("execution", default, description, constraints)


def group(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a field that is itself a :class:`Knobs` model; its own fields say what they are."""
    return _knob("group", default, description, constraints)


class Knobs(BaseModel):
    """Base of every configuration model: frozen, closed, every field declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if _kind_of(field) is None or not field.description:
                raise TypeError(f"{cls.__name__}.{name} must be declared by a knob function")

    def knob_values(self, kind: Kind) -> dict[str, Any]:
        """Return the values of one kind as plain JSON data, nested groups included."""
        values: dict[str, Any] = {}
        plain = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            declared = _kind_of(field)
            if declared == "group":
                inner = _group_values(value, kind)
                if inner not in ({}, []):
                    values[name] = inner
            elif declared == kind and not _rests(field, value):
                values[name] = plain[name]
        return values


def _group_values(value: Any, kind: Kind) -> Any:
    if isinstance(value, Knobs):
        return value.knob_values(kind)
    if isinstance(value, list | tuple):
        return [_group_values(item, kind) for item in value]
    if isinstance(value, dict):
        return {key: _group_values(item, kind) for key, item in sorted(value.items())}
    return {}


def _knob(
    kind: str, default: Any, description: str, constraints: dict[str, Any], *, later: bool = False
) -> Any:
    extra = {"knob": kind, "later": later}
    if callable(default):
        return Field(
            default_factory=default,
            description=description,
            json_schema_extra=cast(Any, extra),
            **constraints,
        )
    return Field(
        default, description=description, json_schema_extra=cast(Any, extra), **constraints
    )


def _rests(field: FieldInfo, value: Any) -> bool:
    """Tell whether a knob that came later is at its default, as if it were not there."""
    extra = field.json_schema_extra
    later = isinstance(extra, dict) and bool(extra.get("later"))
    return later and value == field.get_default(call_default_factory=True)


def _kind_of(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        return None
    kind = extra.get("knob")
    return kind if isinstance(kind, str) else None
