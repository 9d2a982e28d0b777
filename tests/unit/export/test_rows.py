"""Proves that each played turn becomes a row with its history."""

from infra.store.set_store import revive
from tasks.export.rows import (
    DialogueRow,
    SftRow,
    list_cast,
    make_character_rows,
    make_dialogue_rows,
    make_sft_rows,
)
from tasks.records import Character, Dialogue, Example

from .worlds import CHARACTERS, DIALOGUES, EXAMPLES, make_frame


def test_each_played_turn_is_a_row_with_its_history() -> None:
    cast = make_character_rows(make_frame(Character, CHARACTERS))
    frame = make_dialogue_rows(make_frame(Dialogue, reversed(DIALOGUES)), list_cast(cast))
    rows = revive(DialogueRow, frame)
    played = [
        (r.dialogue_id, r.turn, r.question, r.character_answer, len(r.history)) for r in rows[1:]
    ]
    assert played == [
        ("d2", 0, "q2", "a2", 2),
        ("d2", 1, "q3", "a3", 4),
        ("d3", 0, "q", "rejected", 0),
    ]
    assert rows[0].character == CHARACTERS[0].profile
    assert (rows[0].question_source, rows[0].question_id) == ("demo", "7")


def test_an_sft_row_holds_all_messages() -> None:
    frame = make_frame(Example, EXAMPLES).filter(split="validation")
    (row,) = revive(SftRow, make_sft_rows(frame, list_cast({})))
    assert (row.key, row.context_turns) == ("e-d2", 2)
    assert [turn.role for turn in row.messages] == ["system", *("user", "assistant") * 3]
