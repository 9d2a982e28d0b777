"""Proves how sources are named, mixed, read and checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Reject
from tasks.instructions.config import InstructionConfig
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
    unknown = write_lines(tmp_path / "u.jsonl", {"question": "Who?"})
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
    assert "its columns: question" in problems[1].what
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
