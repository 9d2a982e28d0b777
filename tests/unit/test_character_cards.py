"""Proves that character cards serve as personas and characters, and leave as they came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import ConfigError, Reject
from infra.input.row_input import BadRow, RawRow, Source, find_row_files, read_rows
from infra.store.schema import from_plain, to_plain, to_table
from infra.store.storage import Storage
from tasks.character_cards import (
    Card,
    adapt_row,
    encode_card,
    is_card,
    join_profile,
    make_card,
    read_card,
    renew_card,
    replace_macros,
    split_profile,
)
from tasks.characters.config import CharacterConfig
from tasks.characters.sources import Cast, check_character_source, find_record, take_characters
from tasks.export.cards import name_card, write_cards
from tasks.export.rows import make_character_rows
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import select_personas
from tasks.personas.sources import check_persona_source, read_persona_rows
from tasks.records import BroughtCharacter, Character, Persona
from tests.unit.cards import (
    FLAT,
    MORE,
    PERSONA,
    PROFILE,
    encode,
    make_charx,
    make_png,
    make_text,
    make_v2,
    make_v3,
)

OLD = {
    "char_name": "Maud Tarn",
    "char_persona": FLAT["description"],
    "world_scenario": FLAT["scenario"],
    "char_greeting": FLAT["first_mes"],
    "example_dialogue": FLAT["mes_example"],
}


def read_good(card: dict[str, Any]) -> Card:
    found = read_card(card)
    assert isinstance(found, Card), found
    return found


def take(source: Path) -> Cast:
    """Take personas and characters from one source, as a run does."""
    config = PersonaConfig(source=str(source), language=None)
    assert not check_persona_source(config)
    characters = CharacterConfig(source=str(source))
    assert not check_character_source(characters)
    personas = select_personas(read_persona_rows(config), config).accepted
    assert characters.rows is not None
    return take_characters(characters.rows, personas, "recipe")


def export(cast: Cast, root: Path) -> list[dict[str, Any]]:
    """Write the cards of characters that were stored and read again."""
    record, accepted = find_record(cast)
    frame = pl.from_arrow(to_table(record, accepted))
    assert isinstance(frame, pl.DataFrame)
    return export_frame(frame, root)


def export_frame(frame: pl.DataFrame, root: Path) -> list[dict[str, Any]]:
    storage = Storage(str(root))
    parts = write_cards(storage, "export/x", frame, make_character_rows(frame))
    files = sorted((root / "export/x/cards").iterdir())
    assert sorted(storage.url(part.path) for part in parts) == [str(file) for file in files]
    assert sorted(root.rglob("*.json")) == files
    return [json.loads(file.read_bytes()) for file in files]


@pytest.mark.parametrize("card", [make_v2(), make_v3(), FLAT])
def test_name_description_and_personality_make_the_profile(card: dict[str, Any]) -> None:
    found = read_good(card)
    assert (found.profile, found.persona, found.name) == (PROFILE, PERSONA, "Maud Tarn")


def test_the_oldest_keys_are_known() -> None:
    found = read_good(OLD)
    assert found.profile == PROFILE[: PROFILE.index("\nPersonality")]
    assert renew_card(found.source)["data"]["first_mes"] == FLAT["first_mes"]


FILES = {
    "maud.json": json.dumps(make_v3(), indent=2).encode(),
    "rows.jsonl": json.dumps(make_v2()).encode() + b"\n",
    "flat.json": json.dumps(FLAT).encode(),
    "maud.png": make_png(make_text("chara", encode(make_v2()))),
    "both.png": make_png(
        make_text("chara", encode(make_v2(name="Old"))), make_text("ccv3", encode(make_v3()))
    ),
    "maud.charx": make_charx(json.dumps(make_v3()).encode()),
}
CAME = {"flat.json": None, "rows.jsonl": make_v2(), "maud.png": make_v2()}


@pytest.mark.parametrize("name", FILES)
def test_a_card_goes_in_and_the_same_comes_out(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes(FILES[name])
    cast = take(source)
    (one,) = cast.accepted
    assert (one.profile, one.persona, one.name, one.age) == (PROFILE, PERSONA, "Maud Tarn", "61")
    (out,) = export(cast, tmp_path / "root")
    if name != "flat.json":
        assert out == CAME.get(name, make_v3())
    else:
        assert {key: out[key] for key in FLAT} == FLAT == {key: out["data"][key] for key in FLAT}
        assert out["spec"] == "chara_card_v3"
    again = tmp_path / "again.json"
    again.write_text(json.dumps(out))
    (two,) = take(again).accepted
    assert (two.profile, two.persona) == (one.profile, one.persona)


def test_a_folder_of_cards_is_read_whole_whatever_its_names_say(tmp_path: Path) -> None:
    people = ("Val", "Dev", "Test", "Ada", "Train")
    for number, name in enumerate(people):
        card = make_v2(name=name, description=f"{{{{char}}}} is keeper number {number} of Skerry.")
        png = make_png(make_text("chara", encode(card)))
        as_json = number % 2 == 0
        file = tmp_path / f"{name}.{'json' if as_json else 'png'}"
        file.write_bytes(json.dumps(card).encode() if as_json else png)
    (tmp_path / "Ada").mkdir()
    (tmp_path / "Ada" / "joy.png").write_bytes(make_png())
    (tmp_path / "broken.png").write_bytes(make_png(make_text("chara", b"***")))
    cast = take(tmp_path)
    assert {one.name for one in cast.accepted} == set(people)
    assert sorted(row.reason for row in cast.rejected) == ["no_card", "not_base64"]
    assert {out["data"]["name"] for out in export(cast, tmp_path / "root")} == set(people)
    png_only = take_characters(
        Source(str(tmp_path / "*.png"), cards=True),
        [Persona(one.persona_key, one.persona, "") for one in cast.accepted],
        "recipe",
    )
    assert {one.name for one in png_only.accepted} == {"Dev", "Ada"}


def test_pictures_beside_a_data_set_are_none_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(make_png())
    (tmp_path / "rows.json").write_text(json.dumps([{"persona": "A baker", "name": "Nora"}]))
    for source in (Source(str(tmp_path), cards=True), Source(str(tmp_path))):
        assert [file.path.rsplit("/", 1)[1] for file in find_row_files(source)] == ["rows.json"]
    (tmp_path / "more.jsonl").write_text(json.dumps(FLAT))
    assert len(find_row_files(Source(str(tmp_path), cards=True))) == 2


def test_where_no_card_is_wanted_a_picture_is_named_as_one(tmp_path: Path) -> None:
    picture = tmp_path / "maud.png"
    picture.write_bytes(FILES["maud.png"])
    with pytest.raises(ConfigError, match=r"maud\.png: is a PNG picture"):
        list(read_rows(str(picture)))


def test_a_picture_without_a_card_is_told_before_anything_starts(tmp_path: Path) -> None:
    picture = tmp_path / "sea.png"
    picture.write_bytes(make_png())
    for problems in (
        check_persona_source(PersonaConfig(source=str(picture))),
        check_character_source(CharacterConfig(source=str(picture))),
    ):
        (problem,) = problems
        assert "sea.png" in problem.where and "no card" in problem.what
        assert "chat program" in problem.todo


def test_cards_may_stand_beside_other_rows(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    plain = {"persona": "A baker from Cork with flour on her sleeves", "character": "Name: Nora"}
    source.write_text(f"{json.dumps(plain)}\n{json.dumps(make_v2())}\n")
    cast = take(source)
    record, accepted = find_record(cast)
    stored = [from_plain(Character, row) for row in to_table(record, accepted).to_pylist()]
    assert {type(one).__name__ for one in stored} == {"CardCharacter"} | {"BroughtCharacter"}
    assert {one.profile for one in stored} == {"Name: Nora", PROFILE}
    names = {card["data"]["name"] for card in export(cast, tmp_path / "root")}
    assert names == {"Nora", "Maud Tarn"}


def test_characters_without_cards_are_stored_as_before() -> None:
    one = BroughtCharacter("k", "p", "A baker", *("",) * 8, own_text="She bakes.", own_id="")
    assert find_record(Cast([one], ())) == (BroughtCharacter, [one])


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({**make_v2(), "data": [1]}, "malformed"),
        ({"spec": "chara_card_v2", "data": None}, "malformed"),
        (make_v2(name=7), "malformed"),
        (make_v2(description=["a"]), "malformed"),
        (make_v2(name=" ", nickname=" "), "empty"),
        (make_v2(description="{{// nothing yet}}", personality=None), "empty"),
        ({"spec": "chara_card_v2", "data": {}}, "empty"),
        ({"spec": "chara_card_v9"}, "empty"),
    ],
)
def test_a_card_that_says_nothing_is_rejected_with_its_reason(
    card: dict[str, Any], reason: str
) -> None:
    row = adapt_row(RawRow("f:1", card))
    assert isinstance(row, BadRow) and row.reason == reason and row.detail


def test_a_card_nested_too_deep_is_rejected() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    found = read_card(make_v2(extensions={"x": deep}))
    assert isinstance(found, Reject) and found.reason == "nested_too_deep"


@pytest.mark.parametrize(
    "row",
    [
        {"persona": "A baker", **FLAT},
        {"name": "Nora", "age": 44, "personality": "Dry."},
        {"instruction": "x", "output": "y"},
        {"data": {"name": "x"}},
        {"name": "x", "description": "a data set"},
    ],
)
def test_other_rows_are_no_cards(row: dict[str, Any]) -> None:
    assert adapt_row(RawRow("f:1", row)) == RawRow("f:1", row)


def test_a_column_that_was_asked_for_is_read_from_flat_cards_too(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(FLAT))
    config = PersonaConfig(source=str(source), persona_column="scenario")
    assert [raw.text for raw in read_persona_rows(config)] == [FLAT["scenario"]]


MACROS = [
    ("{{char}}'s hat, {{ CHAR }}, <BOT>, <char>", "Maud's hat, Maud, Maud, Maud"),
    ("{{user}} and <USER>", "the user and the user"),
    ("{{original}}{{// a note }}{{comment: b}}{{hidden_key:c}}.", "."),
    ("{{random:a,b}} {{time}} {x} <b>", "{{random:a,b}} {{time}} {x} <b>"),
]


@pytest.mark.parametrize(("text", "right"), MACROS)
def test_macros_are_replaced(text: str, right: str) -> None:
    assert replace_macros(text, "Maud") == right


def test_a_name_that_looks_like_a_macro_is_put_in_once() -> None:
    assert replace_macros("{{char}} and {{user}}", "{{user}}\\1") == "{{user}}\\1 and the user"


def test_a_nickname_stands_for_the_macro() -> None:
    found = read_good(make_v3(nickname="Old Maud"))
    assert found.persona.startswith("Old Maud keeps") and found.profile.startswith(
        "Name: Maud Tarn"
    )


OPENINGS = [
    ("Age: 61\nHeight: tall\nShe tends the lamp. She naps.", "", "Maud: She tends the lamp."),
    ('[Character("Maud") {Age("61")}]', "A patient keeper of lamps.",
     "Maud: A patient keeper of lamps."),
    ("", "Maud is dry", "Maud: Maud is dry"[6:]),
    ("Age: 61\nSex: f", "", "Maud: Age: 61 Sex: f"),
    ("\u5979\u5b88\u7740\u6d77\u8fb9\u7684\u706f\u5854\u5df2\u7ecf\u4e09\u5341\u5e74\u3002"
     "\u8bdd\u4e0d\u591a\u3002", "",
     "Maud: \u5979\u5b88\u7740\u6d77\u8fb9\u7684\u706f\u5854\u5df2\u7ecf\u4e09\u5341\u5e74\u3002"),
    ("x" * 5_000, "", "Maud: " + "x" * 300),
]  # fmt: skip


@pytest.mark.parametrize(("description", "personality", "persona"), OPENINGS)
def test_the_persona_is_one_sentence_of_prose(
    description: str, personality: str, persona: str
) -> None:
    card = make_v2(name="Maud", description=description, personality=personality)
    assert read_good(card).persona == persona


WRITTEN = Character("k" * 32, "p", "A keeper of lamps", "Maud Tarn", "61", "female", "Scots",
                    "Skerry", "Tall.", "She kept the lamp.", "Dry, patient.")  # fmt: skip


def test_a_written_character_leaves_as_a_card_and_comes_back(tmp_path: Path) -> None:
    frame = pl.from_arrow(to_table(Character, [WRITTEN]))
    assert isinstance(frame, pl.DataFrame)
    (card,) = export_frame(frame, tmp_path / "root")
    assert (card["spec"], card["spec_version"]) == ("chara_card_v3", "3.0")
    assert set(FLAT) <= set(card) and set(FLAT) | set(MORE) - {
        "character_book",
        "of_a_later_version",
    } <= set(card["data"])
    assert card["name"] == card["data"]["name"] == "Maud Tarn"
    (one,) = take(tmp_path / "root/export/x/cards").accepted
    assert (one.profile, one.persona, one.own_id) == (
        WRITTEN.profile,
        WRITTEN.persona,
        WRITTEN.key,
    )
    assert {name: getattr(one, name) for name in ("age", "birth_place", "personality")} == {
        "age": "61",
        "birth_place": "Skerry",
        "personality": "Dry, patient.",
    }


@pytest.mark.parametrize(
    "name",
    ["../../x", "..", "/etc/passwd", "C:\\a", "a\0b", "", "\u202e", "x" * 9_999, "\u8afe" * 99],
)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    found = name_card(name, "0" * 12)
    assert Path(found).name == found and len(found.encode()) < 200 and not found.startswith(".")
    card = make_v2(name=name or "x", description="One who keeps the lamp.")
    if isinstance(found_card := read_card(card), Card):
        one = make_card(found_card.name, found_card.profile, "p", "i")
        assert one["name"] == found_card.name
    frame = pl.DataFrame([to_plain(WRITTEN) | {"name": name}])
    assert len(export_frame(frame, tmp_path / "root")) == 1


def test_two_characters_of_one_name_keep_a_file_each(tmp_path: Path) -> None:
    rows = [to_plain(WRITTEN) | {"key": key} for key in ("a" * 32, "a" * 31 + "b", "c" * 32)]
    assert len(export_frame(pl.DataFrame(rows), tmp_path / "root")) == 3


TEXTS = st.text(max_size=40).filter(lambda text: "\nPersonality: " not in text)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(["spec", "data", "name", "description", "personality", "first_mes",
                        "extensions", "char_name", "char_persona", "x"])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, ANY_JSON | st.dictionaries(KEYS, ANY_JSON)))
def test_any_object_is_a_card_a_row_or_a_typed_reject(values: dict[str, Any]) -> None:
    row = adapt_row(RawRow("f:1", values))
    if isinstance(row, RawRow) and isinstance(card := row.values.get("card"), Card):
        assert card.persona and json.loads(card.source) == values
        assert renew_card(card.source)["data"]["name"] is not None
    else:
        assert isinstance(row, BadRow) or not is_card(values) or "persona" in values


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=9).filter(str.strip), TEXTS, st.text(max_size=20))
def test_a_profile_parts_into_the_fields_it_was_joined_of(
    name: str, description: str, personality: str
) -> None:
    name, personality = " ".join(name.split()), " ".join(personality.split())
    profile = join_profile(name, description, personality)
    assert join_profile(name, *split_profile(profile, name)) == profile


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=9), ANY_JSON))
def test_what_a_card_holds_is_stored_word_for_word(card: dict[str, Any]) -> None:
    text = encode_card({**card, "half": "\ud83d"})
    assert json.loads(text.encode()) == {**card, "half": "\ud83d"}
