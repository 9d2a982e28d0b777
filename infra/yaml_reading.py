"""Reads YAML in which no key is given twice: which of two values is meant, nobody can tell."""

from __future__ import annotations

from typing import Any

import yaml


class DoubledKey(ValueError):
    """A mapping that gives a key twice; says which, and in which lines."""


class _Loader(yaml.SafeLoader):
    """Builds plain data as the safe loader does, and looks at the keys of every mapping first.

    Before it is built, that is: merging (``<<``) may put keys into a mapping that it has already.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                where = f"in lines {first} and {line}" if first != line else f"in line {line}"
                raise DoubledKey(f"the key {key.value!r} is given twice, {where}")
            lines[key.value] = line
        return node


def read_yaml(text: str) -> Any:
    """Return what a YAML text holds; :class:`DoubledKey`, or :class:`yaml.YAMLError`."""
    return yaml.load(text, _Loader)
