"""Proves that sheets survive spreadsheets, and that no rating is guessed, lost or doubled."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.store.fingerprints import content_key
from tasks.evaluation.judging.agreement import measure_agreement
from tasks.evaluation.judging.people import (
    Rating,
    SheetRow,
    choose_answers,
    count_unrated,
    read_sheet,
    read_sheets,
    render_sheet,
    tabulate_sheet,
)
from tasks.evaluation.judging.sheet_files import restore
from tasks.records import TASKS, Answer, EvalTask

KEYS = [content_key("answer", str(number)) for number in range(4)]
ONE = SheetRow(
    answer_key=KEYS[0],
    persona="A baker from Cork.",
    profile="Name: Ada\nAge: 44",
    task="linguistic habits",
    rubric="Voice: does it sound like her?",
    question='=HYPERLINK("x")',
    answer='שלום; "quoted",\r\nnew line',
    model="tuned",
    verdicts=(("judge", 4.5), ("other", None)),
)


def make_answers(model: str, *counts: int) -> list[Answer]:
    return [make_answer(model, task, n) for task, count in zip(TASKS, counts, strict=False)
            for n in range(count)]  # fmt: skip


def make_answer(model: str, task: EvalTask, number: int) -> Answer:
    key = content_key(model, task, str(number))
    return Answer(key, f"{task} {number}", "p", "A baker.", task, model, "Who?", "Me.", False)


def write(folder: Path, text: str | bytes, name: str = "anna.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def render(rows: Sequence[SheetRow], *, blind: bool, note: str) -> bytes:
    return render_sheet(tabulate_sheet(rows, blind=blind, note=note))


def read_cells(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def fill(data: bytes, *scores: str, delimiter: str = ",", encoding: str = "utf-8-sig") -> bytes:
    """Fill in a sheet as a spreadsheet saves it."""
    rows = read_cells(data)
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows({**row, "score": score} for row, score in zip(rows, scores, strict=True))
    return sink.getvalue().encode(encoding)


def find_problems(paths: Sequence[Path], keys: Sequence[str] = KEYS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_sheets(paths, keys)
    return [str(problem) for problem in caught.value.problems]


def test_a_blind_sheet_shows_no_model_and_no_verdict() -> None:
    data = render([ONE], blind=True, note="run demo, seed 0")
    (cells,) = read_cells(data)
    assert list(cells) == [
        "row", "persona", "profile", "task", "rubric", "question", "answer", "score", "comment",
        "sheet",
    ]  # fmt: skip
    assert cells["row"] == KEYS[0]
    assert (cells["score"], cells["comment"]) == ("", "")
    assert b"tuned" not in data
    assert b"4.5" not in data


def test_an_open_sheet_shows_the_model_and_each_judge() -> None:
    other = replace(ONE, answer_key=KEYS[1], model="base", verdicts=(("other", 2.0),))
    first, second = read_cells(render([ONE, other], blind=False, note=""))
    assert (first["model"], first["judge judge"], first["judge other"]) == ("tuned", "4.5", "")
    assert (second["model"], second["judge judge"], second["judge other"]) == ("base", "", "2")


def test_texts_keep_every_character_and_none_is_run_as_a_formula() -> None:
    (cells,) = read_cells(render([ONE], blind=True, note=""))
    assert cells["answer"] == ONE.answer
    assert cells["question"] == '\'=HYPERLINK("x")'
    assert restore(cells["question"]) == ONE.question


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_save_is_read_back(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [replace(ONE, answer_key=key) for key in KEYS[:3]]
    blank = render(rows, blind=False, note="")
    sheet = write(tmp_path, fill(blank, "4,5", "", "2", delimiter=delimiter, encoding=encoding))
    found = read_sheet(sheet, KEYS)
    assert found == (
        Rating(KEYS[0], "anna", 4.5), Rating(KEYS[1], "anna", None), Rating(KEYS[2], "anna", 2.0),
    )  # fmt: skip
    assert count_unrated(found) == 1


def test_the_old_code_page_garbles_no_rating(tmp_path: Path) -> None:
    text = f"row;score;comment\r\n{KEYS[0]};5;tr\u00e8s bien\r\n"
    (rating,) = read_sheet(write(tmp_path, text.encode("cp1252")), KEYS)
    assert (rating.score, rating.comment) == (5.0, "tr\u00e8s bien")


@pytest.mark.parametrize(
    ("cell", "score"),
    [
        ("4", 4.0), (" 4 ", 4.0), ("4.5", 4.5), ("4,5", 4.5), ("4/5", 4.0), ("4 / 5", 4.0),
        ("4.0/5.0", 4.0), ("'3", 3.0), ("\u00a01", 1.0), ("\uff15", 5.0), ("  ", None),
    ],
)  # fmt: skip
def test_scores_are_read_as_people_write_them(
    tmp_path: Path, cell: str, score: float | None
) -> None:
    (rating,) = read_sheet(write(tmp_path, f'row,score\n{KEYS[0]},"{cell}"\n'), KEYS)
    assert rating.score == score


@pytest.mark.parametrize("cell", ["0", "5.5", "7", "4/10", "May 4", "good", "4-5", "nan", "1e0"])
def test_other_scores_are_errors_with_their_line(tmp_path: Path, cell: str) -> None:
    sheet = write(tmp_path, f"row,score\n\n{KEYS[0]},4\n{KEYS[1]},{cell}\n")
    (problem,) = find_problems([sheet])
    assert f"{sheet}:4 (row 4): score {cell!r}" in problem


def test_lines_are_those_of_the_file_and_rows_those_of_a_spreadsheet(tmp_path: Path) -> None:
    sheet = write(tmp_path, f'row,answer,score\n{KEYS[0]},"two\nlines",4\n{KEYS[1]},x,9\n')
    (problem,) = find_problems([sheet])
    assert f"{sheet}:4 (row 3)" in problem


def test_blank_rows_and_cells_beyond_the_header_do_no_harm(tmp_path: Path) -> None:
    text = (
        f"sep=;\r\n;;\r\nScore ;Row;x\r\n;;\r\n3; {KEYS[0].upper()} ;x;more\r\n4;{KEYS[1]}\r\n\r\n"
    )
    found = read_sheet(write(tmp_path, text), KEYS)
    assert found == (Rating(KEYS[0], "anna", 3.0), Rating(KEYS[1], "anna", 4.0))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = f"row,score\n{'f' * 32},4\n{KEYS[0]},6\n,3\n{KEYS[1]},2\n"
    problems = find_problems([write(tmp_path, text)])
    assert [part.split(": ")[1].split(" →")[0] for part in problems] == [
        f"'{'f' * 32}' is no answer of this run",
        "score '6' is not between 1 and 5",
        "has no row id",
    ]


def test_a_sheet_of_another_run_is_one_fault_and_not_fifty(tmp_path: Path) -> None:
    lines = "".join(f"{content_key('old', str(n))},3\n" for n in range(50))
    (problem,) = find_problems([write(tmp_path, f"row,score\n{lines}")])
    assert "none of its 50 rows is an answer of this run" in problem


def test_a_long_list_of_faults_is_cut(tmp_path: Path) -> None:
    keys = [content_key("many", str(n)) for n in range(50)]
    problems = find_problems(
        [write(tmp_path, "row,score\n" + "".join(f"{key},9\n" for key in keys))], keys
    )
    assert len(problems) == 21
    assert "30 more such faults" in problems[-1]


def test_nobody_rates_an_answer_twice(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    one = write(tmp_path, f"row,score\n{KEYS[0]},4\n{KEYS[0]},4\n")
    (problem,) = find_problems([one])
    assert f"{one}:3 (row 3): anna rated {KEYS[0]} before, at {one}:2 (row 2)" in problem
    write(tmp_path, f"row,score\n{KEYS[0]},4\n")
    two = write(tmp_path / "two", f"row,score\n{KEYS[0]},3\n")
    assert len(find_problems([one, two])) == 1


def test_raters_are_named_by_a_column_or_else_by_the_file(tmp_path: Path) -> None:
    text = f"row,score,rater\n{KEYS[0]},4, Ben \n{KEYS[0]},3,\n"
    found = read_sheet(write(tmp_path, text), KEYS)
    assert [rating.rater for rating in found] == ["Ben", "anna"]


def test_a_folder_of_sheets_is_read_whole_and_a_sheet_named_twice_once(tmp_path: Path) -> None:
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    one = write(sheets, f"row,score\n{KEYS[0]},4\n")
    write(sheets, f"row,score\n{KEYS[0]},5\n", "ben.csv")
    write(sheets, "no sheet", "notes.md")
    found = read_sheets([sheets, one], KEYS)
    assert found == (Rating(KEYS[0], "anna", 4.0), Rating(KEYS[0], "ben", 5.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n;;\n", "is empty"),
        ("id,score\n1,2\n", "must have one column `row`"),
        ("row,mark\n1,2\n", "must have one column `score`"),
        ("row,score,score\n1,2,3\n", "must have one column `score`"),
        (f'row,score\n{KEYS[0]},"4\n', "is no CSV"),
    ],
)
def test_what_is_no_sheet_is_said(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = find_problems([write(tmp_path, text)])
    assert said in problem


def test_a_missing_sheet_is_said(tmp_path: Path) -> None:
    (problem,) = find_problems([tmp_path / "nowhere.csv"])
    assert "no such file" in problem


def test_ratings_meet_verdicts_in_the_measure_of_agreement(tmp_path: Path) -> None:
    text = "row,score\n" + "".join(f"{key},{n + 1}\n" for n, key in enumerate(KEYS[:3]))
    ratings = read_sheet(write(tmp_path, f"{text}{KEYS[3]},\n"), KEYS)
    rows = [(item.answer_key, item.rater, item.score) for item in ratings]
    rows += [(key, "judge", float(n + 1)) for n, key in enumerate(KEYS)]
    found = measure_agreement(rows, {key: key for key in KEYS}, seed=0)
    assert (found.alpha, found.units, found.missing) == (1.0, 3, 1)


def test_a_larger_sample_keeps_the_smaller() -> None:
    answers = make_answers("base", 9, 9, 9) + make_answers("tuned", 9, 2)
    sets = [{item.key for item in choose_answers(answers, count, 7)} for count in range(39)]
    assert [len(keys) for keys in sets] == list(range(39))
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_a_sample_is_balanced_over_models_and_their_tasks() -> None:
    answers = make_answers("base", 50, 10, 10, 10, 10) + make_answers("tuned", 3, 3, 3, 3, 90)
    chosen = choose_answers(answers, 30, 1)
    counts = Counter((item.model, item.task) for item in chosen)
    assert set(counts.values()) == {3}
    assert len(counts) == 10


def test_models_that_lack_rows_leave_their_places_to_others() -> None:
    answers = make_answers("base", 2) + make_answers("tuned", 40)
    counts = Counter(item.model for item in choose_answers(answers, 20, 1))
    assert counts == {"base": 2, "tuned": 18}


def test_the_order_of_a_sheet_depends_on_the_seed_alone() -> None:
    answers = make_answers("base", 20) + make_answers("tuned", 20)
    one = choose_answers(answers, 20, 1)
    assert one == choose_answers(answers[::-1], 20, 1)
    assert one != choose_answers(answers, 20, 2)
    models = "".join(item.model[0] for item in one)
    assert "bbb" in models or "ttt" in models  # no turn-taking that gives the models away
