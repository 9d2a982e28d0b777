"""Checks the measures of judges on known verdicts, and that all faults of a file are told."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.store.fingerprints import content_key, row_key
from infra.store.schema import from_plain
from tasks.evaluation.judging.calibration import (
    CALIBRATION,
    Labelled,
    digest_labelled,
    measure_area,
    measure_calibration,
    plan_calibration,
    read_labelled,
)
from tasks.evaluation.judging.judging import JudgementInput
from tasks.evaluation.planning import plan_judgements
from tasks.records import Answer, Judgement

ROW = {"persona": "A baker.", "question": "How?", "answer": "With flour.", "score": 4}


def write_rows(folder: Path, *rows: object) -> Path:
    path = folder / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_labelled(*scores: float, voices: str = "") -> list[Labelled]:
    """Make rows with the scores; ``voices`` says y, n or - for each."""
    known = {"y": True, "n": False}
    return [
        Labelled(f"k{n}", f"P{n}", "", "linguistic_habits", "Q", "A", score, known.get(voice))
        for n, (score, voice) in enumerate(zip(scores, voices or "-" * len(scores), strict=True))
    ]


def judge_rows(*scores: float | None, judge: str = "teacher") -> list[Judgement]:
    return [
        Judgement(f"j{n}", f"k{n}", "q", "p", "linguistic_habits", CALIBRATION, judge, score, "")
        for n, score in enumerate(scores)
    ]


def test_a_row_is_read_with_its_defaults(tmp_path: Path) -> None:
    (row,) = read_labelled(write_rows(tmp_path, ROW))
    assert (row.profile, row.task, row.score, row.in_voice) == ("", "linguistic_habits", 4.0, None)
    full = {**ROW, "profile": "Name: Ada", "task": "toxicity_control", "in_voice": False}
    (told,) = read_labelled(write_rows(tmp_path, full))
    assert (told.profile, told.task, told.in_voice) == ("Name: Ada", "toxicity_control", False)
    assert told.key != row.key
    (signed,) = read_labelled(write_rows(tmp_path, {**ROW, "author": " gpt-4o "}))
    assert (signed.author, row.author) == ("gpt-4o", "")
    assert signed.key == row.key  # a label: no new verdict for it


def test_a_corrected_label_keeps_the_key_and_moves_the_digest(tmp_path: Path) -> None:
    path = write_rows(tmp_path, ROW)
    (before,), digest = read_labelled(path), digest_labelled(path)
    (after,) = read_labelled(write_rows(tmp_path, {**ROW, "score": 2, "in_voice": True}))
    assert after.key == before.key
    assert (after.score, after.in_voice) == (2.0, True)
    assert digest_labelled(path) != digest


def test_all_faults_of_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path,
        ROW,
        {**ROW, "score": 6, "task": "singing"},
        {**ROW, "score": True, "persona": " "},
        {**ROW, "score": "4", "in_voice": "yes", "mood": "good"},
        {**ROW, "score": 3},
    )
    with path.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    with pytest.raises(ConfigError) as error:
        read_labelled(path)
    told = [f"{item.where} {item.what}" for item in error.value.problems]
    wanted = (
        ("jsonl:2", "task is 'singing'"),
        ("jsonl:2", "score is 6"),
        ("jsonl:3", "persona is ' '"),
        ("jsonl:3", "score is True"),
        ("jsonl:4", "unknown field 'mood'"),
        ("jsonl:4", "score is '4'"),
        ("jsonl:4", "in_voice is 'yes'"),
        ("jsonl:5", "repeats what labelled.jsonl:1 shows"),
        ("jsonl:6", "is no row"),
    )
    assert len(told) == len(wanted)
    for line, (where, what) in zip(told, wanted, strict=True):
        assert where in line
        assert what in line


def test_many_faults_are_counted_and_not_all_printed(tmp_path: Path) -> None:
    rows = [{**ROW, "score": 9, "answer": f"{number}"} for number in range(50)]
    with pytest.raises(ConfigError, match="has 30 more such faults"):
        read_labelled(write_rows(tmp_path, *rows))


def test_a_missing_or_empty_file_is_the_configurations_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_labelled(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="no such file"):
        digest_labelled(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no labelled answer"):
        read_labelled(write_rows(tmp_path))


def test_labelled_answers_are_planned_as_any_judgement_is() -> None:
    rows = [replace(item, profile="Name: Ada") for item in make_labelled(1, 5)]
    frame = plan_calibration("r", rows)
    answers = [
        Answer(row.key, content_key("labelled question", row.persona, row.task, row.question),
               content_key("persona", row.persona), row.persona, row.task, CALIBRATION,
               row.question, row.answer, truncated=False)
        for row in rows
    ]  # fmt: skip
    profiles = {item.persona_key: "Name: Ada" for item in answers}
    assert frame.equals(plan_judgements("r", answers, profiles=profiles))
    inputs = [from_plain(JudgementInput, row) for row in frame.iter_rows(named=True)]
    assert [item.key for item in inputs] == [row_key("r", ["k0"]), row_key("r", ["k1"])]
    names = {field.name for field in fields(JudgementInput)}
    assert set(frame.columns) == names | {"parents_digest", "group", "examples_key"}
    assert plan_calibration("r", []).columns == frame.columns


def test_shares_are_of_verdicts_and_missing_ones_are_counted() -> None:
    labelled = make_labelled(1, 2, 3, 4, 5, 5)
    found = measure_calibration("teacher", "f", labelled, judge_rows(1, 3, 5, 4, None))
    assert (found.rows, found.missing) == (4, 2)
    assert found.exact == 0.5
    assert found.within_one == 0.75
    assert found.auc is None


def test_a_score_between_two_is_near_and_not_exact() -> None:
    found = measure_calibration("teacher", "f", make_labelled(4, 4), judge_rows(4.5, 2.5))
    assert (found.exact, found.within_one) == (0.0, 0.5)


def test_another_judges_verdicts_do_not_count() -> None:
    labelled = make_labelled(1, 2)
    both = [*judge_rows(1, 2, judge="other"), *judge_rows(5, 5)]
    assert measure_calibration("teacher", "f", labelled, both).exact == 0.0
    assert measure_calibration("other", "f", labelled, both).exact == 1.0
    none = measure_calibration("third", "f", labelled, both)
    assert (none.rows, none.missing, none.exact, none.within_one) == (0, 2, None, None)


def test_area_is_over_rows_that_say_whose_voice_it_is_and_have_a_verdict() -> None:
    labelled = make_labelled(5, 5, 2, 2, 3, 5, voices="yynn-y")
    found = measure_calibration("teacher", "f", labelled, judge_rows(5, 2, 2, 1, 4, None))
    # 5 beats both; 2 ties with 2 and beats 1: (2 + 1.5) of 4.
    assert found.auc == 3.5 / 4


@pytest.mark.parametrize(
    ("above", "below", "area"),
    [((5, 4), (3, 1), 1.0), ((1,), (2, 3), 0.0), ((3, 3), (3,), 0.5), ((), (1,), None)],
)
def test_area_of_known_cases(
    above: tuple[float, ...], below: tuple[float, ...], area: float | None
) -> None:
    assert measure_area(above, below) == area


def test_keys_name_judge_and_file() -> None:
    keys = {measure_calibration(judge, source, [], []).key for judge in "ab" for source in "fg"}
    assert len(keys) == 4
