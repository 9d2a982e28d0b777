"""Reads YAML in which no key is given twice: which of two values is meant, nobody can tell."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES = 100_000


class DoubledKey(ValueError):
    """A mapping that gives a key twice; says which, and in which lines."""


class _Loader(yaml.SafeLoader):
    """Safe loader of plain data that looks at the keys of every mapping first.

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
    """Return what a YAML text holds; :class:`DoubledKey`, or :class:`yaml.YAMLError`.

    Aliases may neither lead back to themselves nor stand for more than anybody would write.
    """
    try:
        value = yaml.load(text, _Loader)
        _measure(value, {}, set())
    except DoubledKey:
        raise
    except RecursionError as error:
        raise yaml.YAMLError("nested too deep") from error
    except ValueError as error:  # a date of no calendar, a number of thousands of digits
        raise yaml.YAMLError(str(error)) from error
    return value


def _measure(value: object, sizes: dict[int, int], above: set[int]) -> int:
    """Count the values of which one consists, those behind aliases each time."""
    if isinstance(value, dict):
        inner: list[object] = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        inner = list(value)
    else:
        return 1
    place = id(value)
    if place in above:
        raise yaml.YAMLError("an alias stands inside of what it stands for")
    if place not in sizes:
        above.add(place)
        sizes[place] = 1 + sum(_measure(item, sizes, above) for item in inner)
        above.discard(place)
    if sizes[place] > _MOST_VALUES:
        raise yaml.YAMLError(f"aliases make more than {_MOST_VALUES:,} values of it")
    return sizes[place]
