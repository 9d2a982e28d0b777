"""Takes characters from rows that people bring, in place of asking a model for profiles.

A row has the persona's sentence, and the profile: in eight fields, under the labels of the paper or
the names of our columns, or as the text of one field `character`, as the export writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.errors import Problem, Reject
from infra.fingerprints import row_key
from infra.row_input import BadRow, RawRow, check_columns, digest_rows, read_rows
from infra.thoughts import part_thought
from tasks.characters.config import CharacterConfig
from tasks.characters.profile import parse_profile
from tasks.persona_rows import normalise_persona
from tasks.records import PROFILE_FIELDS, Character, Persona, Rejection
from tasks.rejections import RejectionList

_KEY = "characters.source"
_PERSONA, _PROFILE = "persona", "character"


@dataclass(frozen=True, slots=True)
class Cast:
    """Is the characters that were taken, and what was left out with reasons."""

    accepted: Sequence[Character]
    rejected: Sequence[Rejection]


def take_characters(source: str, personas: Sequence[Persona], recipe: str) -> Cast:
    """Return a character for every persona that a row of the source describes.

    Personas without a row are rejected, and so are rows of personas that were not selected, rows
    whose profile cannot be used, and second rows of one persona: rows in = accepted + rejected.
    """
    wanted = {persona.persona: persona for persona in personas}
    taken: dict[str, Character] = {}
    left = RejectionList("character")
    for row in read_rows(source):
        if isinstance(row, BadRow):
            left.add_row("malformed", row.detail, row.origin, content=row.detail)
            continue
        text = normalise_persona(str(row.values.get(_PERSONA) or ""))
        persona = wanted.get(text)
        if persona is None:
            left.add_row("not_selected", text or "no persona", row.origin, content=text)
        elif persona.key in taken:
            left.add_row("duplicate", text, row.origin, content=text)
        elif isinstance(profile := _read_profile(row), Reject):
            left.add_row(profile.reason, profile.detail, row.origin, content=text)
        else:
            key = row_key(recipe, [persona.key])
            taken[persona.key] = Character(
                key=key, persona_key=persona.key, persona=persona.persona, **profile
            )
    for persona in personas:
        if persona.key not in taken:
            left.add_row("no_profile", persona.persona, persona.key, content=persona.key)
    return Cast([taken[key] for key in sorted(taken)], left.collect())


def check_character_source(config: CharacterConfig) -> list[Problem]:
    """Find what would keep characters from being read, by a peek at the first rows."""
    if config.source is None:
        return []
    columns, problems = check_columns(config.source, _KEY)
    names = {name.strip().lower().replace("_", " ") for name in columns}
    fields = [label for label, _ in PROFILE_FIELDS if label.lower() not in names]
    if _PROFILE in columns:
        fields = []
    missing = [*([] if not columns or _PERSONA in columns else [_PERSONA]), *fields]
    if columns and missing:
        where, what = f"{_KEY} ({config.source})", f"has no column for {', '.join(missing)}"
        problems.append(Problem(where, what, f"it has {', '.join(columns)}; rename them"))
    return problems


def digest_character_source(source: str) -> list[str]:
    """Return a digest of each input file, for the node's fingerprint."""
    return [digest for _, digest in digest_rows(source)]


def _read_profile(row: RawRow) -> Mapping[str, str] | Reject:
    whole = row.values.get(_PROFILE)
    if isinstance(whole, str):
        whole = part_thought(whole).text
    return parse_profile(
        whole if isinstance(whole, str) else json.dumps(dict(row.values), default=str)
    )
