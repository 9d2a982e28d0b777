"""Writes the scripted engine's answers: English-looking text as a pure function of a request.

Nothing here imitates a model. It gives orchestration tests rows that parse, differ from one
another and are the same in every process, because every choice is drawn from a SHA-256 of the
messages and, above temperature 0, of the seed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import Any, TypeVar

from infra.errors import ConfigError, Problem
from infra.protocol import Request

_FIRST = (
    "Ada Bruno Carla Dmitri Elena Farid Greta Hugo Imani Jonas Keiko Lena Marco Nadia Omar Priya"
)
_LAST = "Abbott Barnes Castro Duran Evans Fischer Garza Hansen Ito Jensen Keller Lopez Moreau Novak"
_PLACE = "Lisbon Oslo Nairobi Denver Kyoto Cork Lima Turin Accra Leeds Hanoi Porto Austin Cairo"
_GENDER = "Female Male Non-binary"
_RACE = "Asian Black White Hispanic Mixed"
_ADJECTIVE = (
    "quiet careful bright stubborn gentle curious patient old narrow warm honest restless modern"
    " plain clever steady distant simple early heavy famous green rough public"
)
_NOUN = (
    "harbour teacher garden engine letter market bridge recipe window river workshop student"
    " journey question archive kitchen mountain patient village theatre machine forest station song"
)
_VERB = (
    "follows repairs describes protects studies visits remembers improves carries shares explains"
    " watches builds collects answers changes measures paints records moves"
)
_TAIL = (
    "before the morning;after a long day;with great care;for the first time;in the old town;"
    "without any hurry;since last winter;near the sea;as a matter of habit;for a small reward"
)
_Option = TypeVar("_Option")
_ANY = {"type": "string", "maxLength": 40}


class AnswerWriter:
    """Writer of one answer; a new draw for each word, all from one hash."""

    def __init__(self, request: Request, salt: str = "") -> None:
        sampling = request.sampling
        seed = sampling.seed if sampling.temperature > 0 else None
        turns = [[message.role, message.content] for message in request.messages]
        self._root = json.dumps([turns, sampling.temperature, seed, salt]).encode()
        self._root = hashlib.sha256(self._root).digest()
        self._draws = 0

    def write(self, request: Request) -> str:
        """Answer the project's own prompts in the form that they ask for."""
        if request.schema is not None:
            value = self.fill(request.schema, request.schema)
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        asked = "\n".join(message.content for message in request.messages)
        if 'Start with "User prompt:"' in asked:
            return f"User prompt: How would you explain why {self._clause()}?"
        if 'one "Field: value" a line' in asked:
            return "\n".join(f"{field}: {self._write_field(field)}" for field in _PROFILE_FIELDS)
        if "Therefore, the final score is" in asked:
            return f"{self._sentence()} Therefore, the final score is {self.draw(5) + 1}"
        return " ".join(self._sentence() for _ in range(3 + self.draw(3)))

    def draw(self, bound: int) -> int:
        """Draw a whole number from 0 up to, and without, the bound."""
        self._draws += 1
        digest = hashlib.sha256(self._root + self._draws.to_bytes(4, "big")).digest()
        return int.from_bytes(digest[:8], "big") % bound

    def fill(self, schema: Any, root: Any, name: str = "") -> Any:
        """Return a valid instance of a JSON schema (the keywords that this project writes)."""
        if not isinstance(schema, dict):
            schema = _ANY
        if "$ref" in schema:
            target: Any = root
            for step in str(schema["$ref"]).removeprefix("#/").split("/"):
                target = target[step]
            return self.fill(target, root, name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._pick(schema["enum"])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.fill(self._pick(schema[keyword]), root, name)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = kind[0]
        if kind == "object":
            members = schema.get("properties", {}).items()
            return {key: self.fill(member, root, key) for key, member in members}
        if kind == "array":
            return self._fill_array(schema, root, name)
        if kind in ("integer", "number"):
            return self._fill_number(schema, name)
        if kind == "boolean":
            return bool(self.draw(2))
        return None if kind == "null" else self._fill_string(schema, name)

    def _fill_array(self, schema: dict[str, Any], root: Any, name: str) -> list[Any]:
        fixed = schema.get("prefixItems", [])
        values = [self.fill(item, root, name) for item in fixed]
        items = schema.get("items", False if fixed else _ANY)
        least = int(schema.get("minItems", len(fixed)))
        most = int(schema.get("maxItems", max(least, len(fixed) + 2)))
        if items is False:
            return values
        wanted = max(least, min(most, len(fixed) or 1 + self.draw(2)))
        return values + [self.fill(items, root, name) for _ in range(wanted - len(values))]

    def _fill_number(self, schema: dict[str, Any], name: str) -> int:
        ordinary = (18, 80) if name.lower() == "age" else (0, 100)
        above = schema.get("exclusiveMinimum", ordinary[0] - 1)
        below = schema.get("exclusiveMaximum", ordinary[1] + 1)
        least: int = ceil(schema.get("minimum", above + 1))
        most: int = floor(schema.get("maximum", below - 1))
        least = max(least, ordinary[0]) if most >= ordinary[0] else least
        most = max(least, min(most, ordinary[1]))
        return least + self.draw(most - least + 1)

    def _fill_string(self, schema: dict[str, Any], name: str) -> str:
        least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 400))
        pattern = schema.get("pattern")
        for text in self._candidates(name, least, most):
            fits = least <= len(text) <= most
            if fits and (pattern is None or re.search(pattern, text)):
                return text
        raise ConfigError(
            Problem(
                f"schema of {name or 'the answer'}",
                f"the scripted engine has no text for {schema}",
                "give it a responder (script.respond), or a simpler pattern",
            )
        )

    def _candidates(self, name: str, least: int, most: int) -> Iterator[str]:
        text = self._write_field(name)
        while len(text) < least:
            text = f"{text} {self._sentence()}"
        yield text
        shorter = text[:most]
        yield shorter.rsplit(" ", 1)[0] if " " in shorter and len(text) > most else shorter
        yield shorter.strip()
        yield shorter.ljust(least, "a")
        yield self._pick(_NOUN.split())
        start = self.draw(63)
        yield from (str(18 + (start + step) % 63) for step in range(63))
        yield from (str(self.draw(10**width)).rjust(width, "1") for width in range(1, 19))

    def _write_field(self, name: str) -> str:
        match name.lower().replace("_", " "):
            case "name":
                return f"{self._pick(_FIRST.split())} {self._pick(_LAST.split())}"
            case "age":
                return str(18 + self.draw(63))
            case "gender":
                return self._pick(_GENDER.split())
            case "race":
                return self._pick(_RACE.split())
            case "question":
                return f"Why is it that {self._clause()}?"
            case "birth place":
                return self._pick(_PLACE.split())
            case _:
                return self._sentence()

    def _sentence(self) -> str:
        clause = self._clause()
        return f"{clause[0].upper()}{clause[1:]} {self._pick(_TAIL.split(';'))}."

    def _clause(self) -> str:
        subject, target = self._pick(_NOUN.split()), self._pick(_NOUN.split())
        first, second = self._pick(_ADJECTIVE.split()), self._pick(_ADJECTIVE.split())
        return f"the {first} {subject} {self._pick(_VERB.split())} the {second} {target}"

    def _pick(self, options: Sequence[_Option]) -> _Option:
        return options[self.draw(len(options))]


_PROFILE_FIELDS = (
    "Name",
    "Age",
    "Gender",
    "Race",
    "Birth Place",
    "Appearance",
    "General Experience",
    "Personality",
)


def write_answer(request: Request) -> str:
    """Answer a request; the scripted engine's default responder."""
    return AnswerWriter(request).write(request)
