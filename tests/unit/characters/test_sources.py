"""Proves that people's own profiles become characters, and that every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.characters.config import CharacterConfig
from tasks.characters.sources import check_character_source, take_characters
from tasks.records import PROFILE_FIELDS, Persona

PERSONAS = [
    Persona("k1", "A baker from Cork", "p:1"),
    Persona("k2", "A pilot from Oslo", "p:2"),
    Persona("k3", "A judge from Perth", "p:3"),
]
FIELDS = {
    "name": "Nora Quinn",
    "age": 44,
    "gender": "female",
    "race": "Irish",
    "birth_place": "Cork",
    "appearance": "Tall, with flour on her sleeves.",
    "general_experience": "She has baked bread for twenty years.",
    "personality": "Patient and dry.",
}


def write(path: Path, *rows: dict[str, Any] | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_rows_become_characters_under_the_keys_that_written_ones_would_have(
    tmp_path: Path,
) -> None:
    labelled = {label: str(FIELDS[name]) for label, name in PROFILE_FIELDS}
    source = write(
        tmp_path / "own.jsonl",
        {"persona": ' "A baker  from Cork" ', **FIELDS},
        {"persona": "A pilot from Oslo", **labelled, "note": "left alone"},
        {"persona": "A judge from Perth", **FIELDS},
    )
    cast = take_characters(source, PERSONAS, "recipe")
    assert [one.persona for one in cast.accepted] == [one.persona for one in PERSONAS]
    assert {one.age for one in cast.accepted} == {"44"}
    assert not cast.rejected
    again = take_characters(source, PERSONAS[::-1], "recipe")
    assert [one.key for one in again.accepted] == [one.key for one in cast.accepted]


def test_every_row_and_every_persona_is_accounted_for(tmp_path: Path) -> None:
    source = write(
        tmp_path / "own.jsonl",
        {"persona": "A baker from Cork", **FIELDS},
        {"persona": "A baker from Cork", **FIELDS, "name": "Another"},
        {"persona": "A pilot from Oslo", **FIELDS, "age": "9999"},
        {"persona": "A clown from Lima", **FIELDS},
        FIELDS,
        "no json",
    )
    cast = take_characters(source, PERSONAS, "recipe")
    assert [one.name for one in cast.accepted] == ["Nora Quinn"]
    assert sorted(row.reason for row in cast.rejected) == [
        "duplicate",
        "implausible_age",
        "malformed",
        "no_profile",
        "no_profile",
        "not_selected",
        "not_selected",
    ]
    assert len({row.key for row in cast.rejected}) == 7


def test_a_source_without_the_fields_is_told_before_anything_starts(tmp_path: Path) -> None:
    assert not check_character_source(CharacterConfig())
    good = write(tmp_path / "good.jsonl", {"persona": "A baker", **FIELDS})
    assert not check_character_source(CharacterConfig(source=good))
    bare = write(tmp_path / "bare.jsonl", {"persona": "A baker", "name": "Nora"})
    (problem,) = check_character_source(CharacterConfig(source=bare))
    assert "Age" in problem.what and "Name" not in problem.what
    (problem,) = check_character_source(CharacterConfig(source=str(tmp_path / "none.jsonl")))
    assert "no such file" in problem.what
