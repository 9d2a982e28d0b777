"""Proves which questions are asked, and that the order of rows decides nothing."""

import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from tasks.instructions.config import InstructionConfig
from tasks.instructions.selection import Selection, select_conversations, select_instructions
from tasks.instructions.sources import RawConversation
from tasks.records import Turn

REAL = Path(__file__).parents[4] / "shared/data/instructions_alpaca_format.jsonl"


def talk(row: int, *contents: str, corpus: str = "chat") -> RawConversation:
    turns = tuple(
        Turn("assistant" if index % 2 else "user", text) for index, text in enumerate(contents)
    )
    return RawConversation(f"chat.jsonl:{row}", corpus, turns)


def select(*raws: RawConversation, **values: Any) -> Selection:
    return select_conversations(raws, InstructionConfig.model_validate(values))


def reasons(selection: Selection) -> Counter[str]:
    return Counter(row.reason for row in selection.rejected)


def test_split_makes_a_question_of_each_user_turn() -> None:
    selection = select(talk(7, "Who?", "I.", "Why?", "So.", "When?"))
    made = {row.question_id: row for row in selection.accepted}
    assert sorted(made) == ["chat:7:1", "chat:7:2", "chat:7:3"]
    assert [made[f"chat:7:{n}"].context_turns for n in (1, 2, 3)] == [0, 2, 4]
    assert [len(made[f"chat:7:{n}"].turns) for n in (1, 2, 3)] == [2, 4, 5]
    assert [made[f"chat:7:{n}"].answered for n in (1, 2, 3)] == [True, True, False]


def test_keep_makes_one_question_of_a_conversation() -> None:
    (made,) = select(talk(7, "Who?", "I.", "Why?", "So."), multi_turn="keep").accepted
    assert (made.question_id, made.context_turns, len(made.turns)) == ("chat:7", 0, 4)


def test_copies_go_but_the_same_words_in_another_context_stay() -> None:
    selection = select(
        talk(1, "Who?", "I."),
        talk(2, "Who?", "I."),
        talk(3, "Who?", "You."),
        talk(4, "Hello", "Hi.", "Who?", "I."),
        talk(5, "Who?", "I.", "Why?"),
    )
    assert reasons(selection) == {"duplicate": 2}
    assert len(selection.accepted) == 5
    assert all("chat.jsonl:1" in row.detail for row in selection.rejected)


def test_each_row_gets_its_reason() -> None:
    bad = RawConversation("chat.jsonl:9", "chat", Reject("malformed", "x"))
    again = RawConversation("chat.jsonl:10", "chat", Reject("malformed", "x"))
    selection = select(
        bad,
        again,
        talk(1, "Hm?"),
        talk(2, "x" * 20_001),
        talk(3, "Quem é você e o que você faz da vida durante a semana?"),
        talk(4, "Who are you, and what do you do all week?"),
        min_chars=4,
        language="en",
    )
    assert reasons(selection) == {
        "malformed": 2,
        "too_short": 1,
        "too_long": 1,
        "wrong_language": 1,
    }
    assert selection.rows == 6
    assert len({row.key for row in selection.rejected}) == 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "{{", "\u202e", ""]), min_size=1, max_size=5)),
    st.integers(0, 9),
    st.sampled_from(["keep", "split"]),
)
def test_the_order_of_rows_decides_nothing(
    contents: list[list[str]], seed: int, multi_turn: str
) -> None:
    raws = [talk(row, *texts) for row, texts in enumerate(contents, 1)]
    shuffled = raws.copy()
    Random(seed).shuffle(shuffled)
    selection = select(*raws, multi_turn=multi_turn, limit=3)
    assert select(*shuffled, multi_turn=multi_turn, limit=3) == selection
    keys = [row.key for row in selection.accepted] + [row.key for row in selection.rejected]
    assert len(set(keys)) == len(keys)
    questions = sum((len(texts) + 1) // 2 if multi_turn == "split" else 1 for texts in contents)
    assert len(keys) == questions


def test_a_larger_limit_only_adds() -> None:
    raws = [talk(row, f"What is {row}?") for row in range(100)]
    few, more = (set(select(*raws, limit=limit).accepted) for limit in (10, 40))
    assert len(few) == 10
    assert few < more
    assert set(select(*raws, limit=10, seed=1).accepted) != few


def test_without_sources_the_selection_is_empty() -> None:
    assert select_instructions(InstructionConfig()) == Selection((), (), 0)


def test_the_papers_row_counts_make_102084_questions(tmp_path: Path) -> None:
    """1,000 LIMA conversations of one turn, 30 of two or three (74 user turns); section 2."""
    lima: list[dict[str, object]] = [
        {"conversations": [f"LIMA {row}?", "Yes."], "source": "s"} for row in range(1000)
    ]
    lima += [
        {"conversations": [f"Talk {row}.{turn}" for turn in range(4 + 2 * (row < 14))]}
        for row in range(30)
    ]
    alpaca = [
        {"instruction": f"Do {row}", "input": "", "output": f"Did {row}"} for row in range(51_010)
    ]
    hub = [
        {"input persona": "p", "synthesized text": f"User prompt: Ask {row}", "description": "d"}
        for row in range(50_000)
    ]
    paths = []
    for name, rows in (("lima", lima), ("alpaca", alpaca), ("instruction", hub)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        paths.append(str(path))
    began = time.process_time()
    selection = select_instructions(InstructionConfig.model_validate({"sources": paths}))
    assert Counter(row.corpus for row in selection.accepted) == {
        "lima": 1_074,
        "alpaca": 51_010,
        "ph-instruct": 50_000,
    }
    assert len(selection.accepted) == 102_084
    assert selection.rejected == ()
    assert sum(row.answered for row in selection.accepted) == 1_074 + 51_010
    assert time.process_time() - began < 10


@pytest.mark.skipif(not REAL.exists(), reason=f"no real instructions at {REAL}")
def test_real_instructions() -> None:
    selection = select_instructions(InstructionConfig.model_validate({"sources": [str(REAL)]}))
    assert (len(selection.accepted), len(selection.rejected)) == (120, 0)
    assert all(row.answered for row in selection.accepted)
