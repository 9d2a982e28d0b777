"""Proves that people's own profiles become characters, and that every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.errors import YieldError
from infra.store.schema import from_plain, to_table
from tasks.characters.config import CharacterConfig
from tasks.characters.sources import check_character_source, take_characters
from tasks.export.rows import make_character_rows
from tasks.records import PROFILE_FIELDS, BroughtCharacter, Character, Persona, Rejection
from tasks.rejections import check_brought_yield

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
    assert {one.profile.splitlines()[4] for one in cast.accepted} == {"Birth Place: Cork"}
    assert not cast.rejected
    again = take_characters(source, PERSONAS[::-1], "recipe")
    assert [one.key for one in again.accepted] == [one.key for one in cast.accepted]


def test_every_row_and_every_persona_is_accounted_for(tmp_path: Path) -> None:
    source = write(
        tmp_path / "own.jsonl",
        {"persona": "A baker from Cork", **FIELDS},
        {"persona": "A baker from Cork", **FIELDS, "name": "Another"},
        {"persona": "A pilot from Oslo", "name": " ", "age": None},
        {"persona": "A clown from Lima", **FIELDS},
        FIELDS,
        "no json",
    )
    cast = take_characters(source, PERSONAS, "recipe")
    assert [one.name for one in cast.accepted] == ["Nora Quinn"]
    assert sorted(row.reason for row in cast.rejected) == [
        "duplicate",
        "empty",
        "malformed",
        "no_profile",
        "not_selected",
        "not_selected",
    ]
    assert len({row.key for row in cast.rejected}) == 6


def test_a_source_without_the_fields_is_told_before_anything_starts(tmp_path: Path) -> None:
    assert not check_character_source(CharacterConfig())
    good = write(tmp_path / "good.jsonl", {"persona": "A baker", **FIELDS})
    assert not check_character_source(CharacterConfig(source=good))
    few = write(tmp_path / "few.jsonl", {"persona": "A baker", "Born Place": "Cork"})
    assert not check_character_source(CharacterConfig(source=few))
    bare = write(tmp_path / "bare.jsonl", {"persona": "A baker", "note": "Nora"})
    (problem,) = check_character_source(CharacterConfig(source=bare))
    assert "no column for the profile" in problem.what and "it has persona, note" in problem.todo
    (problem,) = check_character_source(
        CharacterConfig(source=write(tmp_path / "mute.jsonl", FIELDS))
    )
    assert "no column for persona" in problem.what
    (problem,) = check_character_source(CharacterConfig(source=str(tmp_path / "none.jsonl")))
    assert "no such file" in problem.what


PAPER = "Name: Nora Quinn\nAge: 44\nRace: Irish\nBorn Place: Cork\nPersonality: Dry."
KEPT = [
    ({"character": PAPER}, PAPER, {"name": "Nora Quinn", "birth_place": "Cork", "gender": ""}),
    ({"character": f"  {PAPER}\n\n"}, PAPER, {"age": "44"}),
    ({"character": "Name: Zoë\nRace/Ethnicity: Irish"}, "Name: Zoë\nRace/Ethnicity: Irish",
     {"race": "Irish"}),
    ({"profile": "She bakes.\n\nShe is dry."}, "She bakes.\n\nShe is dry.", {"name": ""}),
    ({"character": f"Name: Nora\nAppearance: {'tall ' * 900}".strip()},
     f"Name: Nora\nAppearance: {'tall ' * 900}".strip(), {"name": "Nora"}),
    ({"character": "Name: Nora\nAge: quarante-quatre ans"},
     "Name: Nora\nAge: quarante-quatre ans", {"age": "quarante-quatre ans"}),
    ({"character": "Name: Nora\nAge: ageless"}, "Name: Nora\nAge: ageless", {"age": "ageless"}),
    ({"character": "\u540d\uff1a\u8afe\u62c9"}, "\u540d\uff1a\u8afe\u62c9", {"name": ""}),
    ({"character": {"Name": "Nora", "Hobby": "chess", "age": 44}},
     "Name: Nora\nHobby: chess\nAge: 44", {"name": "Nora", "age": "44"}),
    ({"character": json.dumps({"Name": "Nora", "Born Place": "Cork"})},
     "Name: Nora\nBorn Place: Cork", {"birth_place": "Cork"}),
    ({"Name": "Nora", "Born Place": "Cork", "id": 3}, "Name: Nora\nBorn Place: Cork",
     {"birth_place": "Cork"}),
    ({"age": 44.0, "name": "Nora", "birth_place": None, "personality": ["dry", "warm"]},
     "Name: Nora\nAge: 44\nPersonality: dry, warm", {"personality": "dry, warm"}),
    ({"name": "n/a", "age": "9999"}, "Name: n/a\nAge: 9999", {"age": "9999"}),
    ({"character": "Name: No\ud83dra"}, "Name: Nora", {"name": "Nora"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "profile", "fields"), KEPT)
def test_a_brought_profile_is_kept_as_it_is(
    row: dict[str, Any], profile: str, fields: dict[str, str], tmp_path: Path
) -> None:
    source = write(tmp_path / "own.jsonl", {"persona": PERSONAS[0].persona, **row})
    (one,) = take_characters(source, PERSONAS[:1], "recipe").accepted
    assert one.profile == profile
    assert {name: getattr(one, name) for name in fields} == fields
    (plain,) = to_table(BroughtCharacter, [one]).to_pylist()
    again = from_plain(Character, plain)
    assert again == one
    (exported,) = make_character_rows(pl.DataFrame([plain])).values()
    assert exported.character == profile


@pytest.mark.parametrize("row", [{"character": " "}, {"name": ""}, {"character": {"Name": None}}])
def test_only_an_empty_profile_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    source = write(tmp_path / "own.jsonl", {"persona": PERSONAS[0].persona, **row})
    cast = take_characters(source, PERSONAS[:1], "recipe")
    assert [row.reason for row in cast.rejected] == ["empty"]


def test_ids_are_kept_unless_two_characters_share_one(tmp_path: Path) -> None:
    source = write(
        tmp_path / "own.jsonl",
        *(
            {"persona": who.persona, "character": f"Name: {name}", "character_id": own_id}
            for who, name, own_id in zip(PERSONAS, "ABC", (7, "x", "x"), strict=True)
        ),
    )
    cast = take_characters(source, PERSONAS, "recipe")
    assert {one.name: one.own_id for one in cast.accepted} == {"A": "7", "B": "", "C": ""}


def test_too_few_rows_stop_a_run_and_rows_that_nobody_asked_for_do_not_count() -> None:
    rows = [
        Rejection(str(n), "empty" if n < 3 else "not_selected", "why", f"f:{n}") for n in range(9)
    ]
    check_brought_yield("own", 0.5, accepted=3, rejected=rows, apart=("not_selected",))
    with pytest.raises(YieldError, match=r"own: 2 of 5 rows .* min_yield of 50%: 6 × not_selected"):
        check_brought_yield("own", 0.5, accepted=2, rejected=rows, apart=("not_selected",))
    with pytest.raises(YieldError, match="0 of 0 rows"):
        check_brought_yield("own", 0.0, accepted=0, rejected=rows[3:], apart=("not_selected",))
