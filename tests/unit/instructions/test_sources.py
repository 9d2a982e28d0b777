"""Proves how sources are named, mixed, read and checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Reject
from tasks.instructions.config import InstructionConfig
from tasks.instructions.selection import select_instructions
from tasks.instructions.sources import (
    RawConversation,
    check_instruction_sources,
    digest_instruction_sources,
    read_conversations,
)

ROW = {"instruction": "Who bakes?", "input": "", "output": "The baker."}


def write_lines(path: Path, *rows: object) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def configure(*sources: object, **values: Any) -> InstructionConfig:
    return InstructionConfig.model_validate({"sources": sources, **values})


def test_a_source_is_a_path_or_a_mapping(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROW)
    config = configure(path, {"path": path, "format": "alpaca", "corpus": "mine", "licence": "MIT"})
    assert [raw.corpus for raw in read_conversations(config)] == ["alpaca", "mine"]
    assert check_instruction_sources(config) == []


def test_one_folder_may_mix_formats(tmp_path: Path) -> None:
    write_lines(tmp_path / "set/a.jsonl", ROW)
    write_lines(tmp_path / "set/b.jsonl", {"conversations": ["Who?", "I."]})
    write_lines(tmp_path / "set/c.jsonl", {"synthesized text": "User prompt: Why?"}, {"x": 1})
    raws = list(read_conversations(configure(str(tmp_path / "set"))))
    assert [raw.corpus for raw in raws] == ["alpaca", "lima", "ph-instruct", ""]
    assert raws[-1].turns == Reject("malformed", "no known format; columns: x")


@pytest.mark.parametrize(
    ("origin", "row_id"),
    [("a.jsonl:3", "a:3"), ("a.b.jsonl.gz:3", "a.b:3"), ("A.CSV:1", "A:1"), ("x.txt:1", "x.txt:1")],
)
def test_a_question_is_named_by_file_stem_and_row(origin: str, row_id: str) -> None:
    assert RawConversation(origin, "c", ()).row_id == row_id


def test_nothing_to_ask_is_a_problem_unless_synthesis_is_on() -> None:
    (problem,) = check_instruction_sources(configure())
    assert problem.where == "instructions.sources"
    assert check_instruction_sources(configure(synthesis={"count": 3})) == []


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    unknown = write_lines(tmp_path / "u.jsonl", {"ask": "Who?"})
    config = configure(
        str(tmp_path / "absent.jsonl"),
        unknown,
        {"path": unknown, "format": "lima"},
        min_chars=9,
        max_chars=8,
        language="hu",
    )
    problems = check_instruction_sources(config)
    assert [problem.where.split()[0] for problem in problems] == [
        "instructions.sources[0]",
        "instructions.sources[1]",
        "instructions.sources[2]",
        "instructions.min_chars",
        "instructions.language",
    ]
    assert "its columns: ask" in problems[1].what
    assert "has no column 'conversations'" in problems[2].what


def test_digests_cover_content_and_settings_but_not_place(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x/a.jsonl", ROW)
    first = digest_instruction_sources(configure(path))
    assert digest_instruction_sources(configure(write_lines(tmp_path / "y/a.jsonl", ROW))) == first
    for changed in (
        configure({"path": path, "corpus": "mine"}),
        configure({"path": path, "format": "alpaca"}),
        configure(write_lines(tmp_path / "z/a.jsonl", ROW, ROW)),
        configure(path, path),
    ):
        assert digest_instruction_sources(changed) != first
    licensed = configure({"path": path, "licence": "MIT"})
    assert digest_instruction_sources(licensed) == first


def test_columns_of_ones_own_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"ask": "Who bakes?", "say": "I do.", "id": 3})
    (problem,) = check_instruction_sources(configure(path))
    assert "columns={question" in problem.todo
    named = {"path": path, "columns": {"question": "ask", "answer": "say"}}
    assert check_instruction_sources(configure(named)) == []
    (raw,) = read_conversations(configure(named))
    assert [turn.content for turn in raw.turns] == ["Who bakes?", "I do."]  # type: ignore[union-attr]
    assert (raw.corpus, sorted(raw.left_out)) == ("pairs", ["column id"])
    (problem,) = check_instruction_sources(configure({**named, "columns": {"question": "asks"}}))
    assert "no column 'asks'; it has ask, say, id" in problem.what
    other = {**named, "columns": {"question": "say"}}
    assert digest_instruction_sources(configure(named)) != digest_instruction_sources(
        configure(other)
    )


def test_a_source_all_of_whose_rows_fall_is_a_problem_with_its_reasons(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "Who?"}
    bad = [{"messages": [turn, turn]}] * 30 + [{"messages": []}]
    (problem,) = check_instruction_sources(configure(write_lines(tmp_path / "a.jsonl", *bad)))
    assert "none of its 31 rows can be read: 30 × roles_not_alternating" in problem.what
    assert "1 × no_user_turn (a.jsonl:31" in problem.what
    good = write_lines(tmp_path / "b.jsonl", *bad, {"messages": [turn]})
    assert check_instruction_sources(configure(good)) == []


def test_what_falls_and_what_is_not_read_is_said_once_for_each_source(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "x"}, {"role": "user", "content": "Who?"}]
    one = write_lines(
        tmp_path / "a.jsonl", {**ROW, "id": 1}, {**ROW, "instruction": "Why?", "id": 2}, {"x": 1}
    )
    two = write_lines(tmp_path / "b.jsonl", {"messages": turns})
    notes = select_instructions(configure(one, two)).notes
    assert notes == (
        f"instructions.sources[0] ({one}): 1 of 3 rows fall: malformed;"
        " not read: column id (2 rows)",
        f"instructions.sources[1] ({two}): not read: system prompts (1 rows)",
    )


def test_a_folder_gives_its_train_split_unless_told(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "set" / split
        folder.mkdir(parents=True)
        write_lines(folder / "rows.jsonl", {**ROW, "instruction": f"Who {split}s?"})
    path = str(tmp_path / "set")

    def read(source: object) -> list[str]:
        return [
            raw.turns[0].content
            for raw in read_conversations(configure(source))
            if not isinstance(raw.turns, Reject)
        ]

    assert read(path) == ["Who trains?"]
    assert read({"path": path, "split": "test"}) == ["Who tests?"]
    assert read({"path": path, "split": "all"}) == ["Who tests?", "Who trains?"]
    (problem,) = check_instruction_sources(configure({"path": path, "split": "dev"}))
    assert "no split 'validation'; it has test, train" in problem.what
