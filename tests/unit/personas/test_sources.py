"""Proves that every row of a persona source is read or says why not."""

import json
from pathlib import Path

import pytest

from tasks.personas.config import PersonaConfig
from tasks.personas.sources import (
    check_persona_source,
    digest_persona_sources,
    read_persona_rows,
)


def write_lines(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_rows_without_a_text_say_why(tmp_path: Path) -> None:
    source = write_lines(
        tmp_path / "p.jsonl", {"persona": "A baker"}, {"text": 1}, {"persona": ["A"]}, "loose"
    )
    rows = read_persona_rows(PersonaConfig(source=source))
    assert [(row.origin, row.text, row.reason) for row in rows] == [
        ("p.jsonl:1", "A baker", ""),
        ("p.jsonl:2", None, "missing"),
        ("p.jsonl:3", None, "malformed"),
        ("p.jsonl:4", None, "malformed"),
    ]
    assert "columns: text" in rows[1].detail


def test_another_column_may_hold_the_persona(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,input persona\n1,A baker\n")
    config = PersonaConfig(source=str(tmp_path / "p.csv"), persona_column="input persona")
    assert check_persona_source(config) == []
    assert [row.text for row in read_persona_rows(config)] == ["A baker"]


def test_a_missing_column_names_the_columns_found(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "p.jsonl", {"description": "A baker", "id": 1})
    (problem,) = check_persona_source(PersonaConfig(source=source))
    assert "it has description, id" in problem.what
    assert "personas.persona_column" in problem.todo


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    config = PersonaConfig(
        source=str(tmp_path / "absent.jsonl"), min_chars=50, max_chars=20, language="hu"
    )
    keys = [problem.where.split()[0] for problem in check_persona_source(config)]
    assert keys == ["personas.source", "personas.min_chars", "personas.language"]


def test_digests_follow_content_not_place(tmp_path: Path) -> None:
    sources = []
    for folder, text in (("a", "A baker"), ("b", "A baker"), ("c", "A sailor")):
        (tmp_path / folder).mkdir()
        sources.append(write_lines(tmp_path / folder / "p.jsonl", {"persona": text}))
    first, moved, changed = (
        digest_persona_sources(PersonaConfig(source=source)) for source in sources
    )
    assert first == moved != changed


def test_the_path_moves_no_fingerprint() -> None:
    one, other = PersonaConfig(source="a.jsonl"), PersonaConfig(source="b.jsonl")
    for kind in ("identity", "selection"):
        assert one.knob_values(kind) == other.knob_values(kind)


@pytest.mark.parametrize("values", [{"sample": 0}, {"near_duplicate_similarity": 1.0}])
def test_impossible_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"greater than|less than"):
        PersonaConfig.model_validate({"source": "a.jsonl", **values})
