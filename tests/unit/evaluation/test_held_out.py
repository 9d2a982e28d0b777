"""Proves which held-out dialogues become questions, and that each keeps its reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tasks.evaluation.questions.held_out import HeldOutSelection, take_held_out
from tasks.records import TASKS, Character, Example, Turn


def make_character(name: str) -> Character:
    return Character(f"c-{name}", f"p-{name}", f"A baker called {name}.", name,
                     *("40", "Female", "Asian", "Cork", "Tall.", "Bread.", "Warm."))  # fmt: skip


def make_example(name: str, question: str, *, dialogue: str = "", **changes: object) -> Example:
    dialogue = dialogue or f"d-{name}-{question}"
    example = Example(
        key=f"x-{dialogue}",
        dialogue_key=dialogue,
        character_key=f"c-{name}",
        split="validation",
        with_profile=True,
        context_turns=0,
        messages=(
            Turn("system", "You are."),
            Turn("user", question),
            Turn("assistant", f"{name} on {question}"),
        ),
    )
    return replace(example, **changes)  # type: ignore[arg-type]


CAST = [make_character(name) for name in ("Ada", "Bo", "Cy")]
ROWS = [
    make_example(name, f"Question {number}?") for name in ("Ada", "Bo", "Cy") for number in range(7)
]


def take(rows: list[Example], personas: int | None = None, each: int = 5) -> HeldOutSelection:
    return take_held_out(rows, CAST, personas=personas, per_persona=each, seed=0)


def reasons(chosen: HeldOutSelection) -> Counter[str]:
    return Counter(row.reason for row in chosen.rejected)


def test_every_persona_is_asked_one_question_a_task_with_its_reference() -> None:
    chosen = take(ROWS)
    assert Counter(row.task for row in chosen.questions) == dict.fromkeys(TASKS, 3)
    assert reasons(chosen) == Counter(not_sampled=6)
    by_key = {row.question_key: row for row in chosen.references}
    assert set(by_key) == {row.key for row in chosen.questions}
    for question in chosen.questions:
        reference = by_key[question.key]
        name = question.persona_key.removeprefix("p-")
        assert reference.reference == f"{name} on {question.question}"
        assert f"Name: {name}" in reference.profile
        assert question.persona == f"A baker called {name}."


def test_the_order_of_rows_decides_nothing_and_more_only_adds() -> None:
    assert take(ROWS) == take(ROWS[::-1])
    few, more = take(ROWS, personas=1, each=2), take(ROWS, personas=2, each=6)
    keys = {row.key for row in few.questions}
    assert len(keys) == 2 and keys < {row.key for row in more.questions}


def test_what_cannot_be_asked_is_rejected_and_training_rows_are_left_aside() -> None:
    rows = [
        ROWS[0],
        replace(ROWS[1], split="train"),
        make_example("Ada", "And then?", context_turns=2),
        make_example("Dee", "Who?"),
        make_example("Ada", "Question 0?", dialogue="d-rewritten"),
    ]
    chosen = take(rows)
    assert len(chosen.questions) == 1
    assert reasons(chosen) == Counter(needs_context=1, no_character=1, duplicate=1)


def test_of_a_conversation_the_first_question_is_taken() -> None:
    more = (Turn("user", "And you?"), Turn("assistant", "Me too."))
    chosen = take([replace(ROWS[0], messages=(*ROWS[0].messages, *more))])
    assert [row.question for row in chosen.questions] == ["Question 0?"]
    assert [row.reference for row in chosen.references] == ["Ada on Question 0?"]
