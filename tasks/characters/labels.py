"""Tells which of the eight fields a label means, however a model or a file spells it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.records import PROFILE_FIELDS

_LABELS = {label.lower(): name for label, name in PROFILE_FIELDS}
_ALIASES: dict[str, tuple[str, ...]] = {
    "name": ("full name", "character name", "name of character", "name of the character"),
    "gender": ("sex", "gender identity"),
    "race": (
        "ethnicity", "ethnic background", "ethnic origin", "racial background", "ethnic group",
        "racial identity",
    ),
    "birth_place": (
        "birthplace", "place of birth", "born place", "born in", "birth location", "birth city",
        "location of birth", "country of birth", "city of birth", "birth country",
    ),
    "appearance": ("physical appearance", "physical description", "outward appearance"),
    "general_experience": (
        "experience", "experiences", "general experiences", "life experience", "life experiences",
        "background", "general background", "work experience", "professional experience",
    ),
    "personality": ("personality traits", "personality type"),
}  # fmt: skip
_LOOSE: dict[str, tuple[str, ...]] = {
    "name": ("first name",),
    "race": ("heritage", "ancestry", "species"),
    "birth_place": ("hometown", "home town", "origin", "born", "place of origin"),
    "appearance": ("looks", "physical traits", "physical features", "description"),
    "general_experience": (
        "backstory", "back story", "biography", "history", "career", "life story", "occupation",
        "personal history", "life history",
    ),
    "personality": ("traits", "temperament", "character traits", "character"),
}  # fmt: skip
"""Words that mean a field only where no better label for it is there."""

_CLOSE = _LABELS | {alias: name for name, found in _ALIASES.items() for alias in found}
_LOOSELY = {alias: name for name, found in _LOOSE.items() for alias in found}
_NUMBERED = re.compile(r"^\W*\d{1,2}\s*[.):]\s*")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OWNER = re.compile(r"^(?:the )?character['\u2019]s ")
_EITHER = re.compile(r"\s*(?:/|&|\||,|\(|\band\b|\bor\b)\s*")


def find_label(label: str) -> str | None:
    """Return the field that a label surely means, or ``None``.

    Of two names in one label, "Race/Ethnicity" or "Birth Place (City)", the first known one counts.
    """
    return _look_up(label, _CLOSE)


def find_labels(labels: Iterable[str]) -> dict[str, str]:
    """Return the field that each of a profile's labels means; those of none are left out.

    "Background story" or "Hometown" means a field only if no other label does so surely.
    """
    given = list(labels)
    found = {label: name for label in given if (name := find_label(label)) is not None}
    taken = set(found.values())
    for label in given:
        name = _look_up(label, _LOOSELY) if label not in found else None
        if name is not None and name not in taken:
            found[label] = name
            taken.add(name)
    return found


def _look_up(label: str, known: dict[str, str]) -> str | None:
    plain = _HUMP.sub(" ", _NUMBERED.sub("", label.strip()))
    plain = " ".join(re.sub(r"[_*#:\uff1a`\"-]+", " ", plain).lower().split())
    plain = _OWNER.sub("", plain)
    if plain in known:
        return known[plain]
    parts = [part.rstrip(" )") for part in _EITHER.split(plain)]
    return next((known[part] for part in parts if part in known), None)
