"""Reads persona rows from the source that the configuration names, and checks it beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import Problem
from infra.input.row_input import BadRow, check_rows, digest_rows, read_rows
from infra.text.languages import known_languages
from tasks.character_cards import CARD_COLUMN, PERSONA_COLUMN, Card, adapt_row, is_card
from tasks.personas.config import PersonaConfig

_KEY = "personas.source"
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class RawPersona:
    """Persona text of one row as it was found, or why there is none.

    Attributes:
        origin: ``file name:line``.
        text: The column's value, untouched; ``None`` if ``reason`` says why there is none.
        reason: ``malformed``, ``missing`` or what is wrong with a card; empty if there is a text.
        detail: What a person needs to see why.
    """

    origin: str
    text: str | None
    reason: str = ""
    detail: str = ""


def read_persona_rows(config: PersonaConfig) -> list[RawPersona]:
    """Read every row of the source, unreadable ones included.

    Raises :class:`~infra.errors.ConfigError` for a file that cannot be read as a whole.
    """
    column = config.persona_column
    raws = []
    for found_row in read_rows(config.rows):
        row = adapt_row(found_row, column)
        if isinstance(row, BadRow):
            raws.append(RawPersona(row.origin, None, row.reason, row.detail))
            continue
        card = isinstance(row.values.get(CARD_COLUMN), Card)
        value = row.values.get(PERSONA_COLUMN if card else column)
        if isinstance(value, str):
            raws.append(RawPersona(row.origin, value))
        elif value is None:
            found = ", ".join(map(str, row.values)) or "none"
            raws.append(RawPersona(row.origin, None, "missing", f"no {column!r}; columns: {found}"))
        else:
            raws.append(
                RawPersona(row.origin, None, "malformed", f"not text: {value!r}"[:_SHOWN_CHARS])
            )
    return raws


def check_persona_source(config: PersonaConfig) -> list[Problem]:
    """Find what would keep personas from being read, by a peek at the first rows."""
    peek, problems = check_rows(config.rows, _KEY)
    columns = peek.columns
    cards = any(is_card(row.values) for row in peek.rows)
    if columns and config.persona_column not in columns and not cards:
        problems.append(
            Problem(
                f"{_KEY} ({config.source})",
                f"has no column {config.persona_column!r}; it has {', '.join(columns)}",
                "set personas.persona_column to one of them",
            )
        )
    if config.min_chars > config.max_chars:
        problems.append(
            Problem(
                "personas.min_chars",
                f"{config.min_chars} is more than max_chars, {config.max_chars}",
                "lower it",
            )
        )
    if config.language is not None and config.language not in known_languages():
        known = ", ".join(sorted(known_languages()))
        problems.append(
            Problem(
                "personas.language",
                f"{config.language!r} cannot be told from other languages",
                f"one of {known}, or null for no filter",
            )
        )
    return problems


def digest_persona_sources(config: PersonaConfig) -> list[str]:
    """Return a digest of each input file, for the node's fingerprint."""
    return [digest for _, digest in digest_rows(config.rows)]
