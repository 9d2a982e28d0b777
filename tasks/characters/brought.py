"""Reads profiles that people bring, and keeps them as they are.

Whoever brings a profile stands for it: no field is asked for, none is too long, and no age is
implausible. Labels are recognised only to know what a character is called; the text itself, with
its own labels, is what models are shown and what the export gives back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.errors import Reject
from infra.text.text_cleaning import clean_text
from infra.thoughts.parting import part_thought
from tasks.character_cards import Card
from tasks.characters.labels import find_label
from tasks.conversations import parse_text, show
from tasks.records import PROFILE_FIELDS

PROFILE_COLUMNS = ("character", "profile", "character_profile")
"""Columns that hold a whole profile, as the export writes it."""

_MORE_LABELS = {"looks": "appearance"}
_LINE = re.compile(
    r"^\s*(?:[-*•]\s+|\d+[.)]\s*)?[*_#\s]*(?P<label>[^:\uff1a\n]{1,40}?)[*_\s]*[:\uff1a][*_]*\s*"
    r"(?P<value>.*)$"
)


@dataclass(frozen=True, slots=True)
class BroughtProfile:
    """Profile as it came: its text, and the fields that could be told in it."""

    text: str
    fields: Mapping[str, str]


def find_field(label: str) -> str | None:
    """Return the field that a label or a column means, or ``None``."""
    return find_label(label) or _MORE_LABELS.get(label.strip().lower())


def read_profile(values: Mapping[str, object]) -> BroughtProfile | Reject:
    """Read the profile of a row, from one column or from a column for each field.

    The only reasons against it are that there is none (``empty``), or that it is no text
    (``malformed``).
    """
    whole = next((values[name] for name in PROFILE_COLUMNS if values.get(name)), None)
    if whole is None:
        named = {name: find_field(name) for name in values if name not in PROFILE_COLUMNS}
        ordered = [name for _, name in PROFILE_FIELDS]
        columns = sorted((n for n in named if named[n]), key=lambda n: ordered.index(str(named[n])))
        return _join_fields({name: values[name] for name in columns})
    if isinstance(whole, str):
        spelt = parse_text(whole)
        whole = spelt if isinstance(spelt, Mapping) else whole
    if isinstance(whole, Mapping):
        return _join_fields(whole)
    if not isinstance(whole, str):
        return Reject("malformed", f"the profile is not text: {show(whole)}")
    text = clean_text(part_thought(whole).text)
    return BroughtProfile(text, dict(_find_fields(text))) if text else Reject("empty")


def read_card_profile(card: Card) -> BroughtProfile:
    """Return the profile of a character card, and what of its fields its description labels."""
    fields: dict[str, str] = {}
    for line in card.description.splitlines():
        # Line by line: what follows a label of ours may stand under one of the card's own.
        fields = {**dict(_find_fields(line)), **fields}
    if card.personality:
        fields["personality"] = " ".join(card.personality.split())
    return BroughtProfile(card.profile, {**fields, "name": card.name})


def _join_fields(given: Mapping[str, object]) -> BroughtProfile | Reject:
    """Write a line for each value there is, under the label it came with."""
    lines: list[str] = []
    fields: dict[str, str] = {}
    for name, value in given.items():
        text, field = _write_value(value), find_field(str(name))
        if not text:
            continue
        lines.append(f"{_write_label(str(name), field)}: {text}")
        if field is not None:
            fields.setdefault(field, " ".join(text.split()))
    return BroughtProfile("\n".join(lines), fields) if lines else Reject("empty")


def _write_label(name: str, field: str | None) -> str:
    """Return the paper's label for a column's name; a label of one's own stays."""
    label = next((label for label, of in PROFILE_FIELDS if of == field), name)
    same = name.strip().lower().replace("_", " ") == label.lower()
    return label if same else clean_text(name)


def _write_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of numbers with a gap in it is one of floats
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_write_value, value)))
    return clean_text(json.dumps(value, ensure_ascii=False, default=str))


def _find_fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the fields that labelled lines tell, each with the lines that go on from it."""
    found: dict[str, str] = {}
    current: str | None = None
    for line in text.splitlines():
        match = _LINE.match(line)
        field = find_field(match["label"]) if match else None
        if match and field is not None and field not in found:
            current = field
            found[field] = match["value"].strip().strip("*").strip()
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    yield from found.items()
