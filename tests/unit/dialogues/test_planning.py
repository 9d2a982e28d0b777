"""Proves that dialogue keys follow lineage and digests cover the texts."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from infra.store.fingerprints import row_key
from infra.store.schema import from_plain, to_table
from tasks.dialogues.planning import plan_dialogues, plan_pairs
from tasks.dialogues.playing import DialogueInput
from tasks.records import Character, Instruction

from .scenes import make_character, make_question

CAST = [make_character(name) for name in ("Ada", "Bo", "Cy", "Di")]
QUESTIONS = [
    make_question("Why?", "Because."),
    make_question("Hi", "Hello", "How?", "So.", context_turns=2),
]


def plan(
    cast: list[Character] = CAST, questions: list[Instruction] = QUESTIONS, n: int = 2
) -> pl.DataFrame:
    return plan_dialogues("recipe", cast, make_questions(questions), per_question=n, seed=0)


def make_questions(questions: list[Instruction]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(Instruction, questions))
    assert isinstance(frame, pl.DataFrame)
    return frame


def index(planned: pl.DataFrame) -> dict[str, str]:
    return dict(planned.select("key", "parents_digest").iter_rows())


def test_a_row_holds_all_that_its_player_needs() -> None:
    planned = plan()
    assert planned.height == 4
    by_key = {character.key: character for character in CAST}
    questions = {question.key: question for question in QUESTIONS}
    for plain in planned.iter_rows(named=True):
        row = from_plain(DialogueInput, plain)
        character, question = by_key[row.character_key], questions[row.instruction_key]
        assert (row.persona, row.profile) == (character.persona, character.profile)
        assert row.persona_key == character.persona_key
        assert (row.turns, row.context_turns) == (question.turns, question.context_turns)
        assert (row.corpus, row.question_id) == (question.corpus, question.question_id)


def test_a_key_names_the_recipe_the_character_and_the_question() -> None:
    for row in plan().iter_rows(named=True):
        assert row["key"] == row_key("recipe", [row["character_key"], row["instruction_key"]])
    other = plan_dialogues("other", CAST, make_questions(QUESTIONS), per_question=2, seed=0)
    assert not set(index(other)) & set(index(plan()))


def test_a_characters_rows_are_one_group() -> None:
    planned = plan()
    assert planned["group"].to_list() == planned["character_key"].to_list()


def test_keys_are_known_before_any_text_is() -> None:
    pairs = plan_pairs(
        "recipe",
        [character.key for character in sorted(CAST, key=lambda item: item.key)],
        [character.persona_key for character in sorted(CAST, key=lambda item: item.key)],
        sorted(question.key for question in QUESTIONS),
        per_question=2,
        seed=0,
    )
    assert set(pairs["key"]) == set(index(plan()))


def test_changed_texts_keep_keys_and_move_digests() -> None:
    before = index(plan())
    changed = [
        [replace(item, personality="Cold.") for item in CAST],
        [replace(item, persona="A sailor.") for item in CAST],
    ]
    for cast in changed:
        after = index(plan(cast))
        assert set(after) == set(before)
        assert not set(after.values()) & set(before.values())


def test_only_the_rows_of_a_changed_character_move() -> None:
    before = index(plan(n=4))
    cast = [replace(CAST[0], age="41"), *CAST[1:]]
    after = index(plan(cast, n=4))
    moved = {key for key in before if before[key] != after[key]}
    rows = plan(n=4).filter(pl.col("character_key") == CAST[0].key)
    assert moved == set(rows["key"])


def test_a_digest_covers_the_turns_and_which_of_them_are_context() -> None:
    question = QUESTIONS[1]
    turns = (*question.turns[:3], replace(question.turns[3], content="Thus."))
    digests = {
        index(plan(CAST[:1], [item], n=1)).popitem()[1]
        for item in (question, replace(question, context_turns=0), replace(question, turns=turns))
    }
    assert len(digests) == 3


def test_the_order_of_rows_does_not_matter() -> None:
    assert index(plan(CAST[::-1], QUESTIONS[::-1])) == index(plan())


def test_more_characters_keep_every_row_they_do_not_displace() -> None:
    more = [*CAST, *(make_character(f"New {number}") for number in range(10))]
    before, after = plan(), plan(more)
    old = {character.key for character in CAST}
    stayed = after.filter(pl.col("character_key").is_in(old))
    assert set(stayed["key"]) <= set(before["key"])
    assert after.height == before.height


def test_no_questions_make_no_rows() -> None:
    assert plan(questions=[]).is_empty()
