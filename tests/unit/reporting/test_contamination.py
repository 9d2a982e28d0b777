"""Checks that what is evaluated on and was trained on is counted, whatever was kept out."""

from __future__ import annotations

import pytest

from infra.store.manifests import NodeRef
from infra.store.storage import Storage
from tasks.records import Character, EvalQuestion, Example, Persona, Turn
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.contamination import (
    Contamination,
    build_contamination_table,
    count_contamination,
    describe_contamination,
)

from .worlds import make_character, make_key, write_node, write_run, write_synthesis

LONG = "Which of the two mills beside the old bridge would you rather buy for your eldest daughter?"
SHORT = "How would you look after an angry goose?"
CAST = [
    make_character(n, f"A {who} who has never left the valley.")
    for n, who in enumerate(("miller", "goose girl", "smith"))
]


def make_example(number: int, cast: int, *questions: str, held_out: bool = False) -> Example:
    turns = [Turn("system", "s")]
    for question in questions:
        turns += [Turn("user", question), Turn("assistant", LONG)]
    return Example(
        make_key("x", number), make_key("d", number), CAST[cast].key,
        "validation" if held_out else "train", True, 0, tuple(turns),
    )  # fmt: skip


def make_question(number: int, text: str, persona: str = "Nobody at all.") -> EvalQuestion:
    return EvalQuestion(
        make_key("f", number), "personagym", make_key("p", number), persona, "expected_action",
        text, "",
    )  # fmt: skip


def count(
    storage: Storage,
    examples: list[Example],
    questions: list[EvalQuestion],
    knobs: dict[str, int] | None = None,
) -> dict[str, Contamination]:
    nodes = [
        write_node(storage, "characters", Character, CAST),
        write_node(storage, "curation", Example, examples, selection=knobs),
    ]
    if questions:
        nodes.append(write_node(storage, "questions", EvalQuestion, questions))
    return {item.what: item for item in count_contamination(RunNodes(storage, nodes))}


def test_rows_that_ask_a_question_of_the_suite_are_counted_once(storage: Storage) -> None:
    found = count(
        storage,
        [
            make_example(0, 0, f"Tell me: {LONG}", LONG),
            make_example(1, 0, f"Be brief. {SHORT}"),
            make_example(2, 1, "Why is bread brown?"),
            make_example(3, 2, LONG, held_out=True),
        ],
        [make_question(0, LONG), make_question(1, SHORT), make_question(2, LONG)],
    )
    suite = found["a question of the personagym suite"]
    assert (suite.texts, suite.rows, suite.shared, suite.alike) == (2, 3, 1, 1)
    told = describe_contamination([suite])
    assert told == (
        "1 of 3 training rows share 13 words in a row with a question of the personagym suite; "
        "1 more hold one whole or nearly equal one.",
    )


def test_what_held_out_characters_are_asked_is_counted_without_an_evaluation(
    storage: Storage,
) -> None:
    found = count(
        storage,
        [
            make_example(0, 0, LONG),
            make_example(1, 1, SHORT),
            make_example(2, 2, LONG, held_out=True),
        ],
        [],
    )
    item = found["a question to a held-out character"]
    assert (item.texts, item.rows, item.shared, item.alike) == (1, 2, 1, 0)
    assert "a question of the personagym suite" not in found


def test_rows_that_play_a_persona_which_is_evaluated_on_are_counted(storage: Storage) -> None:
    found = count(
        storage,
        [make_example(n, n % 2, f"Question {n}?") for n in range(4)],
        [make_question(0, LONG, "a MILLER who has never left the valley")],
    )
    item = found["a persona that is evaluated on"]
    assert (item.texts, item.rows, item.shared, item.alike) == (1, 4, 0, 2)


def test_runs_are_as_long_as_curation_says(storage: Storage) -> None:
    rows = [make_example(0, 0, "I own two mills beside the old bridge, and you?")]
    strict = count(storage, rows, [make_question(0, LONG)], {"decontamination_words": 5})
    item = strict["a question of the personagym suite"]
    assert (item.words, item.shared) == (5, 1)


def test_every_count_is_of_all_training_rows_and_0_is_not_marked(
    storage: Storage,
) -> None:
    found = count_contamination(RunNodes(storage, write_run(storage)))
    assert [item.rows for item in found] == [19, 19, 19]
    clean = Contamination("a question", 5, 306_252, 0, 0, 13)
    assert describe_contamination([clean])[0].startswith(
        "0 of 306,252 training rows share 13 words in a row with a question;"
    )
    (row,) = build_contamination_table([clean]).rows
    assert [cell.tone for cell in row.cells] == ["", "", "", ""]


@pytest.mark.parametrize("part", ["none", "without characters"])
def test_a_run_without_such_rows_counts_what_there_is(storage: Storage, part: str) -> None:
    nodes: list[NodeRef] = [write_node(storage, "personas", Persona, [])]
    if part != "none":
        nodes.append(next(n for n in write_synthesis(storage) if n.stage == "curation"))
    found = count_contamination(RunNodes(storage, nodes))
    assert [item.what for item in found] == (
        [] if part == "none" else ["a question to a held-out character"]
    )
