"""Proves that people's own dialogues are taken, and that every row is accounted for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.store.schema import to_plain, to_table
from infra.store.set_store import revive
from tasks.dialogues.config import DialogueConfig
from tasks.dialogues.sources import check_dialogue_source, digest_dialogue_source, take_dialogues
from tasks.export.rows import DialogueRow, list_cast, make_character_rows, make_dialogue_rows
from tasks.records import PROFILE_FIELDS, BroughtCharacter, Dialogue, Turn
from tests.unit.dialogues.scenes import make_character, make_question, make_turns

ADA, BEN = make_character("Ada"), make_character("Ben")
CAST = [ADA, BEN]
U, A, V, B = "Who bakes?", "I do.", "And who eats?", "You do."


def write(path: Path, *rows: dict[str, Any] | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def chat(*texts: str, system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": turn.role, "content": turn.content} for turn in make_turns(*texts)]


def take(source: str) -> list[Dialogue]:
    plays = take_dialogues(source, CAST, "recipe")
    assert not plays.rejected
    return list(plays.accepted)


@pytest.mark.parametrize(
    ("row", "context_turns", "texts"),
    [
        ({"messages": chat(U, A)}, 0, (U, A)),
        ({"messages": chat(U, A, system="You are Ada.")}, 0, (U, A)),
        ({"messages": chat(U, A, V, B), "context_turns": 2}, 2, (U, A, V, B)),
        ({"conversations": [U, A, V, B]}, 0, (U, A, V, B)),
        ({"question": U, "character_answer": A}, 0, (U, A)),
        ({"question": U, "answer": f" {A}\r\n", "history": ""}, 0, (U, A)),
        ({"question": U, "character_answer": None, "answer": A}, 0, (U, A)),
        ({"question": U, "response": A, "messages": None}, 0, (U, A)),
        ({"question": V, "answer": B, "history": json.dumps(chat(U, A))}, 2, (U, A, V, B)),
        ({"messages": json.dumps(chat(U, A))}, 0, (U, A)),
        ({"question": V, "answer": B, "history": chat(U, A)}, 2, (U, A, V, B)),
        ({"question": V, "answer": B, "history": chat(U, A, system="Hm.")}, 2, (U, A, V, B)),
    ],
)
def test_every_shape_of_row_becomes_a_dialogue(
    row: dict[str, Any], context_turns: int, texts: tuple[str, ...], tmp_path: Path
) -> None:
    (found,) = take(write(tmp_path / "own.jsonl", {"persona": f' "{ADA.persona}" ', **row}))
    assert (found.character_key, found.persona_key) == (ADA.key, ADA.persona_key)
    assert (found.context_turns, found.turns) == (context_turns, make_turns(*texts))
    assert (found.strategy, found.corpus, found.teacher) == ("given", "own", "own")
    assert found.question_id == "own.jsonl:1"
    asked = texts if context_turns else texts[::2]
    if len(texts) == 2 or context_turns:
        posed = make_turns(*texts)[: context_turns + 1]
        assert found.instruction_key == _name(context_turns, posed)
    else:
        assert len(asked) == 2


def _name(context_turns: int, turns: tuple[Turn, ...]) -> str:
    from infra.store.fingerprints import content_key

    flat = [text for turn in turns for text in (turn.role, turn.content)]
    return content_key("instruction", str(context_turns), *flat)


def test_what_the_export_writes_comes_back(tmp_path: Path) -> None:
    import polars as pl

    def play(key: str, context_turns: int, *texts: str) -> Dialogue:
        return Dialogue(
            key, "rewrite", ADA.key, ADA.persona_key, "i", "lima", f"q{key}", context_turns,
            make_turns(*texts), False, False, "teacher",
        )  # fmt: skip

    played = [play("d1", 0, U, A, V, B), play("d2", 2, U, A, V, "They do."), play("d3", 0, V, B)]
    people = list_cast(make_character_rows(pl.DataFrame([to_plain(ADA)])))
    told = make_dialogue_rows(pl.DataFrame([to_plain(one) for one in played]), people)
    rows = revive(DialogueRow, told)
    assert len(rows) == 4
    # The order of rows does not matter, nor that a dialogue's rows lie in two files.
    for order, cut in ((rows, 1), (rows[::-1], 2)):
        folder = tmp_path / f"in-{cut}"
        folder.mkdir()
        plain = [to_plain(row) for row in order]
        write(folder / "a.jsonl", *plain[:cut])
        write(folder / "b.jsonl", *plain[cut:])
        found = {one.question_id: one for one in take(str(folder))}
        assert {name: (one.context_turns, one.turns) for name, one in found.items()} == {
            one.question_id: (one.context_turns, one.turns) for one in played
        }
        assert {(one.strategy, one.corpus) for one in found.values()} == {("rewrite", "lima")}


def test_rows_that_are_there_twice_are_joined_once(tmp_path: Path) -> None:
    row = {"persona": ADA.persona, "dialogue_id": "d"}
    rows = (
        {**row, "question": U, "answer": A, "history": []},
        {**row, "question": V, "answer": B, "history": chat(U, A)},
    )
    plays = take_dialogues(write(tmp_path / "own.jsonl", *rows, *rows), CAST, "recipe")
    (found,) = plays.accepted
    assert found.turns == make_turns(U, A, V, B)
    assert [row.reason for row in plays.rejected] == ["duplicate"] * 2


def test_a_row_between_is_missing_and_nothing_is_lost(tmp_path: Path) -> None:
    row = {"persona": ADA.persona, "dialogue_id": "d"}
    source = write(
        tmp_path / "own.jsonl",
        {**row, "question": U, "answer": A, "history": []},
        {**row, "question": "And then?", "answer": "Sleep.", "history": chat(U, A, V, B)},
    )
    found = sorted(take(source), key=lambda one: len(one.turns))
    assert [(one.context_turns, len(one.turns)) for one in found] == [(0, 2), (4, 6)]


def test_keys_hang_on_character_and_text_only(tmp_path: Path) -> None:
    one = {"persona": ADA.persona, "messages": chat(U, A)}
    two = {"persona": BEN.persona, "messages": chat(U, A)}
    before = take(write(tmp_path / "a.jsonl", one, two))
    again = take(write(tmp_path / "b.jsonl", {**two, "teacher": "gpt-4o"}, one))
    assert [item.key for item in before] == [item.key for item in again]
    assert len({item.key for item in before}) == 2
    assert len({item.instruction_key for item in before}) == 1
    assert make_question(U).key  # the same question of two people is one question


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    good = {"persona": ADA.persona, "messages": chat(U, A)}
    source = write(
        tmp_path / "own.jsonl",
        good,
        good,
        {**good, "persona": "A clown from Lima"},
        {**good, "character": "Name: Bertha\nAge: 4"},
        {**good, "character": ADA.profile, "messages": chat(V, B)},
        {**good, "messages": chat(U)},
        {**good, "messages": chat(U, "")},
        {**good, "messages": [chat(U)[0], chat(U)[0]]},
        {**good, "messages": "Hello"},
        {**good, "messages": chat(U, A), "context_turns": 2},
        {"persona": ADA.persona, "question": U},
        {"persona": ADA.persona, "question": U, "answer": A, "history": "before"},
        "no json",
    )
    plays = take_dialogues(source, CAST, "recipe")
    assert len(plays.accepted) == 2
    assert Counter(row.reason for row in plays.rejected) == {
        "duplicate": 1,
        "no_character": 1,
        "other_profile": 1,
        "no_answer": 2,
        "roles_not_alternating": 1,
        "malformed": 4,
        "missing_text": 1,
    }
    assert len({row.key for row in plays.rejected}) == len(plays.rejected)
    assert all(row.source.startswith("own.jsonl:") for row in plays.rejected)


def test_what_cannot_be_read_is_told_before_anything_starts(tmp_path: Path) -> None:
    def check(*rows: dict[str, Any], own_profiles: bool = False) -> list[str]:
        config = DialogueConfig(source=write(tmp_path / "own.jsonl", *rows))
        return [item.what for item in check_dialogue_source(config, own_profiles=own_profiles)]

    assert not check_dialogue_source(DialogueConfig(), own_profiles=False)
    good = {"persona": ADA.persona, "messages": chat(U, A)}
    assert not check(good)
    assert not check({"persona": "A baker", "question": U, "character_answer": A})
    assert check({"persona": "A baker", "text": U}) == [
        "has no column for messages, or question and character_answer"
    ]
    assert check({"messages": chat(U, A)}) == ["has no column for persona"]
    (told,) = check({**good, "character": ADA.profile})
    assert "new ones" in told
    assert not check({**good, "character": ADA.profile}, own_profiles=True)
    gone = DialogueConfig(source=str(tmp_path / "none.jsonl"))
    (problem,) = check_dialogue_source(gone, own_profiles=False)
    assert "no such file" in problem.what
    assert len(digest_dialogue_source(str(tmp_path / "own.jsonl"))) == 1


def bring(name: str, own_id: str) -> BroughtCharacter:
    written = to_plain(make_character(name))
    return BroughtCharacter(**written, own_text=f"Name: {name}", own_id=own_id)


def test_rows_that_name_no_persona_are_joined_by_the_characters_id(tmp_path: Path) -> None:
    cast = [bring("Ada", "7"), bring("Ben", "")]
    rows: list[dict[str, Any]] = [
        {"character_id": 7, "question": U, "answer": A},
        {"character_id": "7", "persona": None, "question": V, "answer": B},
        {"character_id": cast[1].key, "question": U, "answer": A},
        {"character_id": "7", "persona": cast[1].persona, "question": V, "answer": B},
        {"character_id": "8", "question": U, "answer": A},
        {"question": U, "answer": A},
    ]
    plays = take_dialogues(write(tmp_path / "own.jsonl", *rows), cast, "recipe")
    assert Counter(one.character_key for one in plays.accepted) == {cast[0].key: 2, cast[1].key: 2}
    assert sorted(row.detail for row in plays.rejected) == ["character_id 8", "no persona"]
    config = DialogueConfig(source=write(tmp_path / "ids.jsonl", rows[0]))
    assert not check_dialogue_source(config, own_profiles=True)


@pytest.mark.parametrize(
    ("prose", "shown", "taken"),
    [
        ("", "Name: Ada\nAge: 9", True),
        ("", "Name:  Ada", True),
        ("", " ", True),
        ("", "Name: Bob", False),
        ("She bakes.", "She  bakes.", True),
        ("She bakes.", "He flies.", False),
    ],
)
def test_a_profile_that_a_row_shows_is_compared_as_far_as_it_can_be(
    prose: str, shown: str, taken: bool, tmp_path: Path
) -> None:
    one = bring("Ada", "7")
    if prose:
        nothing = dict.fromkeys((name for _, name in PROFILE_FIELDS), "")
        one = replace(one, **nothing, own_text=prose)
    row = {"persona": one.persona, "character": shown, "question": U, "answer": A}
    plays = take_dialogues(write(tmp_path / "own.jsonl", row), [one], "recipe")
    assert [row.reason for row in plays.rejected] == ([] if taken else ["other_profile"])
    assert len(plays.accepted) == taken


def test_what_cannot_be_encoded_harms_no_row(tmp_path: Path) -> None:
    row = {
        "persona": ADA.persona, "question": "Who \ud83d bakes?", "answer": "I.\udc00",
        "question_source": "li\ud83dma", "question_id": "\udc00q1", "teacher": "m\ud83d",
    }  # fmt: skip
    (found,) = take(write(tmp_path / "own.jsonl", row))
    to_table(Dialogue, [found])
    assert (found.corpus, found.question_id, found.teacher) == ("lima", "q1", "m")
