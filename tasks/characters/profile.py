"""Reads a character profile from a model's answer, and says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.errors import Reject
from infra.text.chat_marks import strip_frame
from infra.text.json_answers import find_json
from infra.text.text_cleaning import drop_terminal_codes, fix_surrogates
from tasks.characters.age_words import tells_age
from tasks.characters.labels import find_labels
from tasks.records import PROFILE_FIELDS

_MAX_CHARS = {"name": 80, "age": 40, "gender": 40, "race": 80, "birth_place": 120}
_MAX_LONG_CHARS = 900
_MAX_AGE = 120
LONG_CHARS = 600
"""The bound of a long value under the schema: one as long as this may have been cut there."""

_FEWEST_LABELS = 3
"""Known labels that make an object a profile, where there are several in an answer."""

_LINE = re.compile(
    r"^\s*(?:[-*\u2022|]\s+|\d+[.)]\s*)?[*_#\s]*(?P<label>[A-Za-z][A-Za-z '\u2019/&(),_]{1,40}?)"
    r"[*_]*\s*(?:[:\uff1a|=\u2192]|[-=]>|(?<=\s)[-\u2013\u2014](?=\s))[*_]*\s*(?P<value>.*)$"
)
_HEADING = re.compile(
    r"^\s*(?:#{1,6}\s*|\*\*)\s*(?P<label>[A-Za-z][A-Za-z /_]{1,40}?)\s*(?:\*\*)?\s*$"
)
_TAGGED = re.compile(r"<(?P<label>[A-Za-z][\w -]{1,30})>\s*(?P<value>[^<>]*?)\s*</(?P=label)>")
_FENCE = re.compile(r"^```[a-z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"^\W*(?:n/?a|unknown|unspecified|unnamed|none|"
    r"not (?:explicitly )?(?:specified|given|mentioned|provided|available|stated)"
    r"(?: (?:in|by) (?:the |this )?(?:persona|description|prompt|text))?|"
    r"tbd|string|null|value|insert .*|your .*|describe .{1,40} here|lorem ipsum.*|\.\.\.|…|"
    r"(?:the )?(?:character(?:['\u2019]s)? )?(?:full )?"
    r"(?:name|age|gender|race|birth place|appearance|general experience|personality))\W*$",
    re.IGNORECASE,
)
_BRACKETED = re.compile(
    r"[\[<{](?:insert|your|character|name|age|place|field|value)\b[^\]>}]*[\]>}]", re.I
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef]")
_NUMBER = re.compile(r"\d+")
_BELOW_ZERO = re.compile(r"\s*[-\u2212]\s*\d")
_OF_LABEL = ("field", "label", "key", "attribute")
_OF_VALUE = ("value", "text", "content", "description")


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


def parse_profile(text: str, *, ended: bool = False) -> Mapping[str, str] | Reject:
    """Read the eight fields from a JSON object or from ``Field: value`` lines.

    Returns the values by column name, whitespace folded, validated by :func:`check_profile`.
    ``ended`` says that the model ended its answer itself, so that brackets that lack are all.
    """
    text = strip_frame(fix_surrogates(drop_terminal_codes(text)).strip())
    if text.startswith('"{'):
        text = _unwrap(text)
    if fenced := _FENCE.match(text):
        text = fenced.group(1).strip()
    if not text:
        return Reject("empty")
    found = _read_json(text, ended=ended) if "{" in text else _read_lines(text)
    if isinstance(found, Reject) and not text.startswith("{"):
        found = _read_lines(text)
    if isinstance(found, Reject):
        return found
    values = {name: _fold(found.get(name, "")) for _, name in PROFILE_FIELDS}
    return check_profile(values) or values


def _unwrap(text: str) -> str:
    """Return the object that a JSON string spells, or the text."""
    try:
        inner = json.loads(text)
    except ValueError:
        return text
    return inner if isinstance(inner, str) else text


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
    if numbers and numbers[0] <= _MAX_AGE and not _BELOW_ZERO.match(age):
        return None
    if not numbers and tells_age(age):
        return None
    return Reject("implausible_age", age[:80])


def _read_json(text: str, *, ended: bool) -> dict[str, str] | Reject:
    data = find_json(
        text, lambda value: _count_labels(_get_fields(value)) >= _FEWEST_LABELS, ended=ended
    )
    if isinstance(data, Reject):
        return data
    fields = _get_fields(data)
    if fields is None:
        return Reject("not_a_profile", text[:80])
    labels = find_labels(fields)
    found: dict[str, str] = {}
    for label, value in fields.items():
        if label in labels and (written := _write_value(value)) is not None:
            found.setdefault(labels[label], written)
    return found


def _get_fields(value: object) -> dict[str, object] | None:
    """Return the object with the fields: the value, one that is wrapped in it, or its items."""
    if isinstance(value, list):
        items = [item for item in value if isinstance(item, dict)]
        whole = next((item for item in items if _count_labels(item) >= _FEWEST_LABELS), None)
        joined = dict(pair for item in items for pair in _list_pairs(item))
        if whole is None and _count_labels(joined) >= _FEWEST_LABELS:
            return joined
        value = whole or (value[0] if value else None)
    if not isinstance(value, dict):
        return None
    inner = [item for item in value.values() if isinstance(item, dict)]
    inner += [found for item in value.values() if isinstance(item, list)
              and (found := _get_fields(item)) is not None]  # fmt: skip
    best = max(inner, key=_count_labels, default=value)
    return best if _count_labels(best) > _count_labels(value) else value


def _list_pairs(item: dict[str, object]) -> list[tuple[str, object]]:
    """Return label and value of ``{"field": "Name", "value": "Ada"}``, or the item's own."""
    label = next((item[key] for key in _OF_LABEL if isinstance(item.get(key), str)), None)
    value = next((item[key] for key in _OF_VALUE if key in item), None)
    if isinstance(label, str) and value is not None:
        return [(label, value)]
    return list(item.items())


def _count_labels(fields: dict[str, object] | None) -> int:
    return len(set(find_labels(fields or ()).values()))


def _write_value(value: object) -> str | None:
    """Return a value as text: words and labelled words are enumerated."""
    if isinstance(value, list):
        items = [_write_value(item) for item in value]
        return ", ".join(item for item in items if item) if all(items) else None
    if isinstance(value, dict):
        written = {str(key): _write_value(item) for key, item in value.items()}
        pairs = (f"{key.replace('_', ' ')}: {item}" for key, item in written.items() if item)
        return "; ".join(pairs) if written and all(written.values()) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _read_lines(text: str) -> dict[str, str] | Reject:
    matches = [_LINE.match(line) or _HEADING.match(line) for line in text.splitlines()]
    labels = find_labels(match["label"] for match in matches if match)
    if not labels and "<" in text:
        tagged = {found["label"]: found["value"] for found in _TAGGED.finditer(text)}
        labels = find_labels(tagged)
        return {labels[label]: tagged[label] for label in labels} or _refuse(text)
    found: dict[str, str] = {}
    current: str | None = None
    for line, match in zip(text.splitlines(), matches, strict=True):
        name = labels.get(match["label"]) if match else None
        if match and name is not None and name not in found:
            current = name
            found[name] = match.groupdict().get("value", "").strip().strip("*|").strip()
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found or _refuse(text)


def _refuse(text: str) -> Reject:
    return Reject("not_a_profile", text[:80])
