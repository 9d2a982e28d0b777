"""Writes a character card for every exported character, which chat programs import."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from infra.store.manifests import PartRef, write_file
from infra.store.schema import from_plain
from infra.store.storage import Storage
from tasks.character_cards import encode_card, make_card, renew_card
from tasks.export.rows import CharacterRow
from tasks.records import CardCharacter, Character

CARDS_FOLDER = "cards"
_AT_ONCE = 8
_NAME_CHARS = 40
_KEY_CHARS = 12
_NOT_IN_NAMES = re.compile(r"[^\w]+")


def write_cards(
    storage: Storage, folder: str, characters: pl.DataFrame, rows: Mapping[str, CharacterRow]
) -> tuple[PartRef, ...]:
    """Write one JSON file per character below ``cards/``, sorted by key.

    A character that came as a card gets that card back as it was.
    """

    def write(file: tuple[str, bytes]) -> PartRef:
        return write_file(storage, f"{folder}/{CARDS_FOLDER}/{file[0]}", file[1])

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pool.map(write, _render_cards(characters, rows)))


def name_card(name: str, key: str) -> str:
    """Return a file name for a card: whatever a name is, it leads into no other folder."""
    plain = _NOT_IN_NAMES.sub("-", unicodedata.normalize("NFKC", name))[:_NAME_CHARS].strip("-_")
    return f"{plain or 'character'}-{_NOT_IN_NAMES.sub('-', key)}.json"


def _render_cards(
    characters: pl.DataFrame, rows: Mapping[str, CharacterRow]
) -> Iterator[tuple[str, bytes]]:
    if characters.is_empty():
        return
    short = Counter(key[:_KEY_CHARS] for key in characters["key"].to_list())
    for plain in characters.sort("key").iter_rows(named=True):
        character = from_plain(Character, plain)
        key, row = character.key, rows[character.key]
        if isinstance(character, CardCharacter):
            card = renew_card(character.own_card)
        else:
            name = " ".join(character.name.split()) or f"Character {key[:_KEY_CHARS]}"
            card = make_card(name, character.profile, row.persona, row.character_id)
        cut = key[:_KEY_CHARS] if short[key[:_KEY_CHARS]] == 1 else key
        yield name_card(character.name, cut), encode_card(card, indent=2).encode()
