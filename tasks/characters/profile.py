"""Reads a character profile from a model's answer, and says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.errors import Reject
from infra.json_answers import find_json
from infra.text_cleaning import drop_terminal_codes, mend_surrogates
from tasks.records import PROFILE_FIELDS

_MAX_CHARS = {"name": 80, "age": 40, "gender": 40, "race": 80, "birth_place": 120}
_MAX_LONG_CHARS = 900
_MAX_AGE = 120
LONG_CHARS = 600
"""The bound of a long value under the schema: one as long as this may have been cut there."""

_ALIASES = {
    "full name": "name",
    "character name": "name",
    "birthplace": "birth_place",
    "place of birth": "birth_place",
    "born place": "birth_place",
    "born in": "birth_place",
    "ethnicity": "race",
    "race/ethnicity": "race",
    "ethnicity/race": "race",
    "race and ethnicity": "race",
    "ethnic background": "race",
    "physical appearance": "appearance",
    "experience": "general_experience",
    "experiences": "general_experience",
    "general experiences": "general_experience",
    "life experience": "general_experience",
    "background": "general_experience",
    "personality traits": "personality",
    "sex": "gender",
}
_LABELS = {label.lower(): name for label, name in PROFILE_FIELDS} | _ALIASES
_FEWEST_LABELS = 3
"""Known labels that make an object a profile, where there are several in an answer."""

_LINE = re.compile(
    r"^\s*(?:[-*\u2022|]\s+|\d+[.)]\s*)?[*_#\s]*(?P<label>[A-Za-z][A-Za-z /_]{1,30}?)[*_]*\s*"
    r"[:\uff1a|][*_]*\s*(?P<value>.*)$"
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
    r"twelve|vingt|trente|quarant|cinquant|soixant|zwanzig|drei|vierzig|f\u00fcnf|sechzig|siebzig|veint"
    r"|treint|cuarent|cincuent|sesent|setent|ochent|novent|venti|trenta|sessant|settant|ottant"
    r"|vinte|trinta|quarent|cinquent|twintig|dertig|veertig|dwadzie|trzydzie|czterdzie|yirmi|otuz"
    r"|k\u0131rk|tjugo|trettio|fyrtio|tahun|jeune|jung|joven|giovane|jovem|vieux|vieille|alt|viejo)"
    r"|\b(?:ans|jahre?|a\u00f1os|anni|anos|jaar|lat|let|ya\u015f|\u00e5r|tu\u1ed5i)\b"
    # What is not in Latin letters no list of words can judge.
    r"|[\u0370-\u03ff\u0400-\u052f\u0590-\u08ff\u0900-\u0fff\u1100-\u11ff\u3040-\u9fff\uac00-\ud7af]",
    re.IGNORECASE,
)


def profile_schema(longest: int = LONG_CHARS) -> dict[str, Any]:
    """Return the JSON schema of a structured profile: eight bounded strings in the paper's order.

    Every string is bounded, so that a weak model cannot fill its tokens inside one value; the long
    ones by ``longest`` characters.
    """
    properties = {
        label: {"type": "string", "minLength": 1, "maxLength": _MAX_CHARS.get(name, longest)}
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
    text = mend_surrogates(drop_terminal_codes(text)).strip()
    if fenced := _FENCE.match(text):
        text = fenced.group(1).strip()
    if not text:
        return Reject("empty")
    found = _read_json(text) if "{" in text else _read_lines(text)
    if isinstance(found, Reject) and not text.startswith("{"):
        found = _read_lines(text)
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
    data = find_json(text, lambda value: _count_labels(_get_fields(value)) >= _FEWEST_LABELS)
    if isinstance(data, Reject):
        return data
    fields = _get_fields(data)
    if fields is None:
        return Reject("not_a_profile", text[:80])
    found: dict[str, str] = {}
    for label, value in fields.items():
        name = _find_label(label)
        if name is not None and (written := _write_value(value)) is not None:
            found.setdefault(name, written)
    return found


def _get_fields(value: object) -> dict[str, object] | None:
    """Return the object with the fields: the value, or the one that is wrapped in it."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    inner = [item for item in value.values() if isinstance(item, dict)]
    best = max(inner, key=_count_labels, default=value)
    return best if _count_labels(best) > _count_labels(value) else value


def _count_labels(fields: dict[str, object] | None) -> int:
    return sum(_find_label(label) is not None for label in fields or ())


def _find_label(label: str) -> str | None:
    plain = re.sub(r"\s*\([^()]*\)$", "", label.strip().lower().replace("_", " "))
    return _LABELS.get(re.sub(r"\s*/\s*", "/", plain.strip("* ")))


def _write_value(value: object) -> str | None:
    """Return a value as text: lists of words are enumerated, objects are none."""
    if isinstance(value, list):
        items = [_write_value(item) for item in value]
        return ", ".join(item for item in items if item) if all(items) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _read_lines(text: str) -> dict[str, str] | Reject:
    found: dict[str, str] = {}
    current: str | None = None
    for line in text.splitlines():
        match = _LINE.match(line)
        name = _find_label(match["label"]) if match else None
        if match and name is not None and name not in found:
            current = name
            found[name] = match["value"].strip().strip("*|").strip()
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found or Reject("not_a_profile", text[:80])
