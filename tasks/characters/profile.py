"""Reads a character profile from a model's answer, and says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.errors import Reject
from tasks.records import PROFILE_FIELDS

_MAX_CHARS = {"name": 80, "age": 40, "gender": 40, "race": 80, "birth_place": 120}
_MAX_LONG_CHARS = 900
_MAX_AGE = 120

_ALIASES = {
    "birthplace": "birth_place",
    "place of birth": "birth_place",
    "ethnicity": "race",
    "experience": "general_experience",
    "background": "general_experience",
    "sex": "gender",
}
_LABELS = {label.lower(): name for label, name in PROFILE_FIELDS} | _ALIASES
_LINE = re.compile(
    r"^\s*(?:[-*•]\s+|\d+[.)]\s*)?[*_#\s]*(?P<label>[A-Za-z][A-Za-z ]{1,30}?)[*_]*\s*:[*_]*\s*"
    r"(?P<value>.*)$"
)
_FENCE = re.compile(r"^```[a-z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"^\W*(?:n/?a|unknown|unspecified|not (?:specified|given|mentioned|provided|available)|none|"
    r"tbd|string|null|value|insert .*|your .*|lorem ipsum.*|\.\.\.|…|"
    r"(?:name|age|gender|race|birth place|appearance|general experience|personality))\W*$",
    re.IGNORECASE,
)
_BRACKETED = re.compile(
    r"[\[<{](?:insert|your|character|name|age|place|field|value)\b[^\]>}]*[\]>}]", re.I
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef]")
_NUMBER = re.compile(r"\d+")
_AGE_WORDS = re.compile(
    r"\b(?:teen|twent|thirt|fort|fift|sixt|sevent|eight|ninet|centur|year|month|adult|elder|old|"
    r"young|middle|infant|child|ageless|immortal|one|two|three|four|five|six|seven|nine|ten|eleven|"
    r"twelve)",
    re.IGNORECASE,
)


def profile_schema() -> dict[str, Any]:
    """Return the JSON schema of a structured profile: eight bounded strings in the paper's order.

    Every string is bounded, so that a weak model cannot fill its tokens inside one value.
    """
    properties = {
        label: {"type": "string", "minLength": 1, "maxLength": _MAX_CHARS.get(name, 600)}
        for label, name in PROFILE_FIELDS
    }
    return {
        "type": "object",
        "properties": properties,
        "required": [label for label, _ in PROFILE_FIELDS],
        "additionalProperties": False,
    }


def parse_profile(text: str) -> Mapping[str, str] | Reject:
    """Read the eight fields from a JSON object or from ``Field: value`` lines.

    Returns the values by column name, whitespace folded, validated by :func:`check_profile`.
    """
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced.group(1).strip()
    if not text:
        return Reject("empty")
    found = _read_json(text) if text.startswith("{") else _read_lines(text)
    if isinstance(found, Reject):
        return found
    values = {name: _fold(found.get(name, "")) for _, name in PROFILE_FIELDS}
    return check_profile(values) or values


def _fold(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def check_profile(values: Mapping[str, str]) -> Reject | None:
    """Say why a profile cannot be used: a gap, placeholder text, no sane age, a long value."""
    missing = [label for label, name in PROFILE_FIELDS if not values[name]]
    if missing:
        return Reject("missing_field", ", ".join(missing))
    for label, name in PROFILE_FIELDS:
        value = values[name]
        if name != "race" and (_PLACEHOLDER.match(value) or _BRACKETED.search(value)):
            return Reject("placeholder", f"{label}: {value[:80]}")
        if len(value) > _MAX_CHARS.get(name, _MAX_LONG_CHARS):
            return Reject("field_too_long", f"{label}: {len(value)} characters")
    return _check_age(values["age"])


def _check_age(age: str) -> Reject | None:
    numbers = [int(number) for number in _NUMBER.findall(age)[:4] if len(number) < 9]
    if numbers and numbers[0] <= _MAX_AGE:
        return None
    if not numbers and _AGE_WORDS.search(age):
        return None
    return Reject("implausible_age", age[:80])


def _read_json(text: str) -> dict[str, str] | Reject:
    try:
        # Bounded strings let raw control characters through the grammar (measured): not strict.
        data, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except ValueError as error:
        return Reject("not_json", str(error))
    found: dict[str, str] = {}
    for label, value in data.items():
        name = _LABELS.get(str(label).strip().lower().replace("_", " "))
        if name is not None and isinstance(value, str | int | float):
            found.setdefault(name, str(value))
    return found


def _read_lines(text: str) -> dict[str, str] | Reject:
    found: dict[str, str] = {}
    current: str | None = None
    for line in text.splitlines():
        match = _LINE.match(line)
        name = _LABELS.get(match["label"].strip().lower()) if match else None
        if match and name is not None and name not in found:
            current = name
            found[name] = match["value"].strip().strip("*").strip()
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found or Reject("not_a_profile", text[:80])
