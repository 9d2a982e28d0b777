"""Knows the role-play community's character cards: versions 1, 2 and 3, and Pygmalion's keys.

A card becomes a row as any other, with a persona and a profile, so that one file serves the
personas and the characters of a run. The profile is what a card says of its character: name,
description and personality. Scenario, greetings, sample dialogues, lorebook and whatever else it
holds are kept with the character, and the export gives the card back as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import Reject
from infra.input.card_files import is_too_deep
from infra.input.row_input import BadRow, RawRow
from infra.text.text_cleaning import clean_text

SPEC, SPEC_VERSION = "chara_card_v3", "3.0"
OURS = "opencharacter"
"""The key under a card's extensions that holds the persona and the id of an exported character."""

PERSONA_COLUMN = "persona"
CARD_COLUMN = "card"
FLAT_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
"""The six fields of version 1, which later versions repeat for older programs."""

_OLD_KEYS = {
    "char_name": "name",
    "char_persona": "description",
    "world_scenario": "scenario",
    "char_greeting": "first_mes",
    "example_dialogue": "mes_example",
}
_MACRO = re.compile(
    r"\{\{\s*(?P<name>(?:char|user|original)\s*|(?:comment:|//|hidden_key:)[^{}]*)\}\}"
    r"|<(?P<old>char|bot|user)>",
    re.IGNORECASE,
)
_USER = "the user"
_SENTENCE = re.compile(r"(?<=[.!?])[\"'*)\u201d]*\s+|(?<=[\u3002\uff01\uff1f])|\n")
_LABELLED = re.compile(r"^[\s*#\-\u2022]*[^\s:=(\[]{1,24}(?: [^\s:=(\[]{1,24})?\s*[:=(]")
_MARKS = " \t*_#>-\u2022\"'\u201c\u201d"
_LEAST_CHARS = 12
_MOST_CHARS = 300
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Card:
    """Character card: what is read of it, and its JSON as it came.

    Attributes:
        name: Whom it is of; text for ``{{char}}``.
        description: What it says of the character, its macros replaced.
        personality: The same, in short; may be empty.
        persona: One sentence that stands for it.
        own_id: The ``character_id`` that an export of ours wrote into it; mostly empty.
        source: The card's JSON.
    """

    name: str
    description: str
    personality: str
    persona: str
    own_id: str
    source: str

    @property
    def profile(self) -> str:
        """Return the profile that models are shown."""
        return join_profile(self.name, self.description, self.personality)


def adapt_row(row: RawRow | BadRow, persona_column: str = PERSONA_COLUMN) -> RawRow | BadRow:
    """Return the row that a card stands for, and every other row as it is.

    A row with the persona column is no card: it says itself what it is.
    """
    if isinstance(row, BadRow) or row.values.get(persona_column) is not None:
        return row
    if not is_card(row.values):
        return row
    card = read_card(row.values)
    if isinstance(card, Reject):
        return BadRow(row.origin, card.detail, card.reason)
    return RawRow(
        row.origin,
        {
            PERSONA_COLUMN: card.persona,
            "character": card.profile,
            "character_id": card.own_id,
            CARD_COLUMN: card,
        },
    )


def is_card(values: Mapping[str, object]) -> bool:
    """Tell a card of any version from another row."""
    spec, data = values.get("spec"), values.get("data")
    if isinstance(spec, str) and spec.startswith("chara_card"):
        return True
    if isinstance(data, Mapping):
        return "name" in data and ("first_mes" in data or "mes_example" in data)
    if "char_name" in values and ("char_persona" in values or "char_greeting" in values):
        return True
    return "name" in values and "first_mes" in values and "description" in values


def read_card(values: Mapping[str, Any]) -> Card | Reject:
    """Read a card; the reasons against it: malformed, empty, nested_too_deep."""
    if is_too_deep(values):
        return Reject("nested_too_deep", "the card is nested too deep")
    data = _find_data(values)
    if not isinstance(data, Mapping):
        return Reject("malformed", f"the card's data is no object: {str(data)[:_SHOWN_CHARS]}")
    fields = {key: data.get(key) for key in ("name", "description", "personality")}
    for key, value in fields.items():
        if value is not None and not isinstance(value, str):
            return Reject("malformed", f"the card's {key} is no text: {str(value)[:_SHOWN_CHARS]}")
    name = " ".join(clean_text(fields["name"] or "").split())
    called = data.get("nickname")
    called = " ".join(clean_text(called).split()) if isinstance(called, str) else ""
    description, personality = (
        clean_text(replace_macros(fields[key] or "", called or name))
        for key in ("description", "personality")
    )
    if not name or not (description or personality):
        missing = "name" if not name else "description, nor a personality"
        return Reject("empty", f"the card has no {missing}")
    persona, own_id = _read_ours(data)
    return Card(
        name,
        description,
        personality,
        persona or _find_persona(name, description, personality),
        own_id,
        encode_card(values),
    )


def replace_macros(text: str, name: str) -> str:
    """Return a card's text with the character's name for ``{{char}}``, and no comments."""

    def fill(found: re.Match[str]) -> str:
        macro = (found["name"] or found["old"]).strip().lower()
        if macro in ("char", "bot"):
            return name
        return _USER if macro == "user" else ""

    return _MACRO.sub(fill, text)


def join_profile(name: str, description: str, personality: str) -> str:
    """Write a profile out of a card's fields; :func:`split_profile` undoes it."""
    lines = [f"Name: {name}", description]
    if personality:
        lines.append(f"Personality: {personality}")
    return "\n".join(filter(None, lines))


def split_profile(profile: str, name: str) -> tuple[str, str]:
    """Return the description and the personality of a profile, for a card of that name."""
    first, _, rest = profile.partition("\n")
    description = rest if first == f"Name: {name}" else profile
    before, mark, last = f"\n{description}".rpartition("\nPersonality: ")
    if mark and "\n" not in last.strip():
        return before.removeprefix("\n"), last
    return description, ""


def encode_card(card: Mapping[str, object], *, indent: int | None = None) -> str:
    """Return a card as JSON that any file and any table can hold, half surrogates included."""
    text = json.dumps(card, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(card, indent=indent)
    return text


def make_card(name: str, profile: str, persona: str, character_id: str) -> dict[str, Any]:
    """Make a card of version 3, with the fields of versions 1 and 2, for a character of ours."""
    description, personality = split_profile(profile, name)
    flat = {
        **dict.fromkeys(FLAT_FIELDS, ""),
        "name": name,
        "description": description,
        "personality": personality,
    }
    return _wrap(flat, {"extensions": {OURS: {"persona": persona, "character_id": character_id}}})


def renew_card(source: str) -> dict[str, Any]:
    """Return a brought card as it came; one of a version before 2 gets the form of version 3."""
    card: dict[str, Any] = json.loads(source)
    if isinstance(card.get("data"), dict):
        return card
    old = {key: value for key, value in card.items() if key not in ("spec", "spec_version")}
    data = {**dict.fromkeys(FLAT_FIELDS, ""), **_rename(old)}
    return {**card, **_wrap({key: data[key] for key in FLAT_FIELDS}, data)}


def _wrap(flat: Mapping[str, object], more: Mapping[str, object]) -> dict[str, Any]:
    data = {
        **flat,
        "creator_notes": "",
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": [],
        "group_only_greetings": [],
        "tags": [],
        "creator": "",
        "character_version": "",
        "extensions": {},
        **more,
    }
    return {**flat, "spec": SPEC, "spec_version": SPEC_VERSION, "data": data}


def _find_data(values: Mapping[str, Any]) -> Any:
    """Return where a card's fields stand: below ``data``, or, in the oldest, at the top."""
    spec = values.get("spec")
    if "data" in values and (isinstance(spec, str) or isinstance(values["data"], Mapping)):
        return values["data"]
    return _rename(values)


def _rename(values: Mapping[str, Any]) -> dict[str, Any]:
    old = {new: values[key] for key, new in _OLD_KEYS.items() if values.get(key) is not None}
    return {**old, **{key: value for key, value in values.items() if key not in _OLD_KEYS}}


def _read_ours(data: Mapping[str, Any]) -> tuple[str, str]:
    extensions = data.get("extensions")
    ours = extensions.get(OURS) if isinstance(extensions, Mapping) else None
    if not isinstance(ours, Mapping):
        return "", ""
    persona, own_id = ours.get("persona"), ours.get("character_id")
    return (
        clean_text(persona) if isinstance(persona, str) else "",
        clean_text(own_id) if isinstance(own_id, str) else "",
    )


def _find_persona(name: str, description: str, personality: str) -> str:
    """Return one sentence for a card: the description's first, else the personality's.

    Lists of traits are none: ``Age: 44``, ``[Character("Ada")]``. The name goes before a sentence
    that does not say it, so that two cards with the same opening stay two.
    """
    for text in (description, personality):
        for part in _SENTENCE.split(text):
            sentence = " ".join(part.split()).strip(_MARKS)
            if len(sentence) < _LEAST_CHARS or not _is_prose(sentence):
                continue
            return _name_in(name, sentence[:_MOST_CHARS].strip())
    left = " ".join((personality or description).split())
    return _name_in(name, left[:_MOST_CHARS].strip())


def _is_prose(sentence: str) -> bool:
    return sentence[0] not in "[{(<|" and not _LABELLED.match(sentence)


def _name_in(name: str, sentence: str) -> str:
    words = [word for word in name.split() if len(word) > 1] or [name]
    said = any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sentence) for word in words)
    return sentence if said else f"{name}: {sentence}"
