"""Says which JSON schemas are alike to a server, and what can be asked for in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.engines.endpoint.dialect import Structure


def read_keywords(schema: Mapping[str, Any]) -> frozenset[str]:
    """Collect a schema's keywords and types, leaving out what names and holds data."""
    found: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        if not isinstance(node, Mapping):
            return
        for keyword, value in node.items():
            found.add(keyword)
            if keyword == "type":
                found.update([value] if isinstance(value, str) else value)
            elif keyword in ("properties", "$defs", "definitions", "patternProperties"):
                visit(list(value.values()))
            elif keyword not in ("const", "enum", "default", "examples"):
                visit(value)

    visit(schema)
    return frozenset(found)


def list_weaker(structure: Structure, schema: Mapping[str, Any] | None) -> tuple[Structure, ...]:
    """Return what may be asked for when a server refuses a structure, the strictest first.

    A JSON object is no way to ask for a list.
    """
    if structure == "json_schema" and schema is not None:
        return ("json_object", "none") if schema.get("type") == "object" else ("none",)
    return ("none",) if structure == "json_object" else ()
