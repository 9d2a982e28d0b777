"""Takes characters from rows that people bring, in place of asking a model for profiles.

A row has the persona's sentence, and the profile: in fields, under the labels of the paper, names
of our columns or labels of one's own, or as the text of one field `character`, as the export
writes it. Profiles are kept as they are (:mod:`tasks.characters.brought`). A character card is
such a row too (:mod:`tasks.character_cards`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from infra.errors import Problem, Reject
from infra.input.card_files import NO_CARD
from infra.input.row_input import BadRow, Source, check_rows, digest_rows, read_rows
from infra.store.fingerprints import row_key
from infra.store.schema import to_plain
from tasks.character_cards import CARD_COLUMN, Card, adapt_row
from tasks.characters.brought import (
    PROFILE_COLUMNS,
    BroughtProfile,
    find_field,
    read_card_profile,
    read_profile,
)
from tasks.characters.config import CharacterConfig
from tasks.persona_rows import normalise_persona
from tasks.records import (
    PROFILE_FIELDS,
    BroughtCharacter,
    CardCharacter,
    Persona,
    Rejection,
)
from tasks.rejections import RejectionList

_KEY = "characters.source"
_PERSONA, _ID = "persona", "character_id"
NOT_ASKED_FOR = "not_selected"
"""The reason of rows whose persona this run does not have: it says nothing against the rows."""
APART = (NOT_ASKED_FOR, NO_CARD)
"""Reasons that count for no yield; programs keep other pictures beside those that are cards."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Characters that were taken, and what was left out with reasons."""

    accepted: Sequence[BroughtCharacter]
    rejected: Sequence[Rejection]


def take_characters(source: str | Source, personas: Sequence[Persona], recipe: str) -> Cast:
    """Return a character for every persona that a row of the source describes.

    Each row is counted once: accepted, or rejected as malformed, empty, a duplicate, or not
    selected, if this run does not have its persona. Personas of no row at all are rejected too.
    """
    wanted = {persona.persona: persona for persona in personas}
    taken: dict[str, BroughtCharacter] = {}
    described: set[str] = set()
    left = RejectionList("character")
    for row in map(adapt_row, read_rows(source)):
        if isinstance(row, BadRow):
            left.add_row(row.reason, row.detail, row.origin, content=row.detail)
            continue
        text = normalise_persona(str(row.values.get(_PERSONA) or ""))
        persona = wanted.get(text)
        if persona is None:
            left.add_row(NOT_ASKED_FOR, text or "no persona", row.origin, content=text)
            continue
        described.add(persona.key)
        if persona.key in taken:
            left.add_row("duplicate", text, row.origin, content=text)
            continue
        card = row.values.get(CARD_COLUMN)
        card = card if isinstance(card, Card) else None
        profile = read_card_profile(card) if card else read_profile(row.values)
        if isinstance(profile, Reject):
            left.add_row(profile.reason, profile.detail or text, row.origin, content=text)
        else:
            own_id = normalise_persona(str(row.values.get(_ID) or ""))
            taken[persona.key] = _make_character(persona, profile, recipe, own_id, card)
    for persona in personas:
        if persona.key not in described:
            left.add_row("no_profile", persona.persona, persona.key, content=persona.key)
    return Cast(_drop_doubled_ids([taken[key] for key in sorted(taken)]), left.collect())


def find_record(cast: Cast) -> tuple[type[BroughtCharacter], Sequence[BroughtCharacter]]:
    """Return what the characters are stored as, and them as such: with cards, if any has one."""
    if not any(isinstance(one, CardCharacter) for one in cast.accepted):
        return BroughtCharacter, cast.accepted
    return CardCharacter, [
        one if isinstance(one, CardCharacter) else CardCharacter(**to_plain(one), own_card="")
        for one in cast.accepted
    ]


def check_character_source(config: CharacterConfig) -> list[Problem]:
    """Find what would keep characters from being read, by a peek at the first rows."""
    source = config.rows
    if source is None:
        return []
    peek, problems = check_rows(source, _KEY)
    rows = [row for row in map(adapt_row, peek.rows) if not isinstance(row, BadRow)]
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    if not columns:
        return problems
    missing = [] if _PERSONA in columns else [_PERSONA]
    if not any(name in PROFILE_COLUMNS or find_field(name) for name in columns):
        fields = ", ".join(label for label, _ in PROFILE_FIELDS)
        missing.append(f"the profile ({PROFILE_COLUMNS[0]}, or any of {fields})")
    if missing:
        where, what = f"{_KEY} ({source.path})", f"has no column for {' and '.join(missing)}"
        problems.append(Problem(where, what, f"it has {', '.join(columns)}; rename them"))
    return problems


def digest_character_source(source: str | Source) -> list[str]:
    """Return a digest of each input file, for the node's fingerprint."""
    return [digest for _, digest in digest_rows(source)]


def _make_character(
    persona: Persona, profile: BroughtProfile, recipe: str, own_id: str, card: Card | None
) -> BroughtCharacter:
    fields = {name: profile.fields.get(name, "") for _, name in PROFILE_FIELDS}
    make = partial(CardCharacter, own_card=card.source) if card else BroughtCharacter
    return make(
        key=row_key(recipe, [persona.key]),
        persona_key=persona.key,
        persona=persona.persona,
        **fields,
        own_text=profile.text,
        own_id=own_id,
    )


def _drop_doubled_ids(cast: Sequence[BroughtCharacter]) -> list[BroughtCharacter]:
    """Forget ids that two characters have: nobody can tell whom a dialogue means by one."""
    named = Counter(one.own_id for one in cast)
    return [replace(one, own_id="") if named[one.own_id] > 1 else one for one in cast]
