"""Proves that no preference is guessed, lost, doubled, or counted for the wrong model."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.store.fingerprints import content_key
from tasks.evaluation.judging.people import Rating, read_sheets
from tasks.evaluation.judging.preferences import Preference, read_preferences
from tasks.records import Answer, EvalTask


def make_answer(model: str, question: str) -> Answer:
    key = content_key(model, question)
    task: EvalTask = "linguistic_habits"
    return Answer(key, question, "p", "A baker.", task, model, "Who?", "Me.", False)


ANSWERS = {
    answer.key: answer
    for answer in (make_answer(model, unit) for model in ("base", "tuned") for unit in "ab")
}
BASE_A, BASE_B, TUNED_A, TUNED_B = ANSWERS


def write(folder: Path, *lines: str, name: str = "anna.csv", head: str = "") -> Path:
    path = folder / name
    path.write_text("\n".join([head or "left,right,preferred,blind", *lines]) + "\n")
    return path


def find_problems(*paths: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_preferences(paths, ANSWERS)
    return [str(problem) for problem in caught.value.problems]


def test_a_side_is_the_answer_that_stood_there(tmp_path: Path) -> None:
    sheet = write(tmp_path, f"{TUNED_A},{BASE_A},left,yes", f"{BASE_B},{TUNED_B},Right ,no")
    assert read_preferences([sheet], ANSWERS) == (
        Preference(TUNED_A, BASE_A, "anna", TUNED_A),
        Preference(BASE_B, TUNED_B, "anna", TUNED_B, blind=False),
    )


def test_a_tie_is_none_of_the_two_and_an_empty_cell_is_no_rating(tmp_path: Path) -> None:
    sheet = write(tmp_path, f"{TUNED_A},{BASE_A},tie", f"{BASE_B},{TUNED_B},")
    found = read_preferences([sheet], ANSWERS)
    assert [item.preferred for item in found] == ["", None]
    assert all(item.blind for item in found)


def test_both_kinds_of_sheets_lie_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path, f"{TUNED_A},{BASE_A},left", name="pairs.csv")
    write(tmp_path, f"{TUNED_A},4", name="scores.csv", head="row,score")
    assert [item.rater for item in read_preferences([tmp_path], ANSWERS)] == ["pairs"]
    assert read_sheets([tmp_path], ANSWERS) == (Rating(TUNED_A, "scores", 4.0),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{TUNED_A},{'f' * 32},left", f"'{'f' * 32}' is no answer of this run"),
        (f",{BASE_A},left", "'' is no answer of this run"),
        (f"{TUNED_A},{BASE_B},left", "its answers are to two questions"),
        (f"{TUNED_A},{TUNED_A},left", "its answers are both of tuned"),
        (f"{TUNED_A},{BASE_A},tuned", "preferred 'tuned' is neither left, right nor tie"),
    ],
)
def test_a_line_that_says_nothing_is_told_with_its_place(
    tmp_path: Path, line: str, said: str
) -> None:
    sheet = write(tmp_path, f"{BASE_B},{TUNED_B},tie", line)
    (problem,) = find_problems(sheet)
    assert f"{sheet}:3 (row 3): {said}" in problem


def test_nobody_rates_a_pair_twice_not_even_the_other_way_round(tmp_path: Path) -> None:
    one = write(tmp_path, f"{TUNED_A},{BASE_A},left", f"{BASE_A},{TUNED_A},left")
    (problem,) = find_problems(one)
    assert "anna rated these two answers before" in problem and f"{one}:2 (row 2)" in problem
    head = "left,right,preferred,rater"
    lines = [f"{TUNED_A},{BASE_A},left,Ben", f"{BASE_A},{TUNED_A},left,Mia"]
    found = read_preferences([write(tmp_path, *lines, head=head)], ANSWERS)
    assert [item.rater for item in found] == ["Ben", "Mia"]


def test_a_sheet_of_another_run_is_one_fault(tmp_path: Path) -> None:
    sheet = write(tmp_path, *(f"{n:032x},{n + 1:032x},left" for n in range(9)))
    (problem,) = find_problems(sheet)
    assert "none of its 9 rows is an answer of this run" in problem
