"""Checks that a judge that falls short is said to."""

from __future__ import annotations

from dataclasses import replace

from tasks.reporting.sections.judges import (
    JudgeLine,
    build_agreement_table,
    build_calibration_table,
    build_habit_table,
    find_single_rubrics,
    list_anchor_notes,
    list_habit_notes,
    list_judge_notes,
    list_self_notes,
)
from tasks.scores import PANEL, AgreementLine, AnchorOrder, Calibration, JudgeHabit

GOOD = Calibration("k", "judge", "rows.jsonl", 118, 2, 0.71, 0.8, 0.9)


def test_a_judge_at_the_bar_is_good_enough() -> None:
    (note,) = list_judge_notes([GOOD])
    assert note.good and "80.0 % of 118 rows, AUC 0.900" in note.text


def test_a_judge_below_either_bar_is_not() -> None:
    off, deaf, both, mute = list_judge_notes(
        [
            replace(GOOD, within_one=0.79),
            replace(GOOD, auc=0.89),
            replace(GOOD, within_one=0.1, auc=0.5),
            replace(GOOD, within_one=None, exact=None, auc=None, rows=0),
        ]
    )
    assert not any(note.good for note in (off, deaf, both, mute))
    assert "79.0 % of the rows (80 % is asked)" in off.text and "AUC" not in off.text
    assert "0.890 (0.9 is asked)" in deaf.text and "within" not in deaf.text
    assert "10.0 %" in both.text and "0.500" in both.text
    assert "no verdict" in mute.text


def test_a_file_that_does_not_say_who_is_in_voice_asks_no_auc() -> None:
    (note,) = list_judge_notes([replace(GOOD, auc=None)])
    assert note.good and "AUC" not in note.text


def test_calibration_counts_missing_verdicts() -> None:
    (row,) = build_calibration_table([replace(GOOD, within_one=0.5)]).rows
    assert [cell.text for cell in row.cells] == ["50.0 %", "71.0 %", "0.900", "118", "2"]
    assert [cell.tone for cell in row.cells] == ["bad", "", "good", "", "bad"]


def test_a_judge_that_says_one_thing_is_called_out() -> None:
    habit = JudgeHabit("h", "judge", 200, 3.0, 0.95, 190, 0.5)
    (note,) = list_habit_notes([habit])
    assert not note.good
    assert note.text.startswith("Judge judge gives 3 to 95.0 % of 200 answers")
    fine = [replace(habit, share=0.949), replace(habit, share=1.0, rows=9)]
    assert list_habit_notes(fine) == ()
    (row, *others) = build_habit_table([habit, *fine]).rows
    assert [cell.text for cell in row.cells] == ["3", "95.0 %", "200", "50.0 %", "190"]
    assert row.cells[1].tone == "bad"
    assert [other.cells[1].tone for other in others] == ["", ""]


def test_of_a_judge_without_reasons_nothing_is_said_of_them() -> None:
    (row,) = build_habit_table([JudgeHabit("h", "judge", 20, 3.5, 0.5, 0, None)]).rows
    assert [cell.text for cell in row.cells] == ["3.5", "50.0 %", "20", "–", "0"]


def test_a_judge_that_does_not_order_its_own_examples_is_called_out() -> None:
    order = AnchorOrder("o", "judge", 20, 200, 0, 0.9)
    sure, guessing, mute = list_anchor_notes(
        [order, replace(order, ordered=0.52), replace(order, ordered=None, pairs=0)]
    )
    assert (sure.good, guessing.good, mute.good) == (True, False, False)
    assert "puts 52.0 % of 200 pairs of its own example replies to 20 questions" in guessing.text


def test_a_judge_whose_model_wrote_training_data_is_told_once_with_what_it_wrote() -> None:
    lines = [
        JudgeLine("judge", "", ("guesses", "characters", "dialogues_generate")),
        JudgeLine("other", "", ()),
    ]
    (note,) = list_self_notes(lines)
    assert not note.good
    assert "Judge judge and the teacher are one model" in note.text
    assert "guesses, characters and dialogues generate" in note.text
    (alone,) = list_self_notes([JudgeLine("judge", "", ("characters",))])
    assert "it wrote characters, which" in alone.text


def test_a_panel_has_one_rubric_only_where_all_its_judges_share_it() -> None:
    one, two, five = (JudgeLine("a", "X", ()), JudgeLine("b", "Y", ()), JudgeLine("c", "", ()))
    assert find_single_rubrics([one, replace(one, role="b")]) == {"a": "X", "b": "X", PANEL: "X"}
    assert find_single_rubrics([one, two]) == {"a": "X", "b": "Y"}
    assert find_single_rubrics([one, five]) == {"a": "X"}
    assert find_single_rubrics([five]) == {}


def test_agreement_says_who_rated() -> None:
    lines = [
        AgreementLine("g", ("a", "Mia"), True, 0.684, 0.5, 0.81, 9, 50, 98, 2),
        AgreementLine("h", ("a", "b"), False, None, None, None, 0, 0, 0, 0),
    ]
    people, judges = build_agreement_table(lines).rows
    assert (people.name, people.note) == ("a, Mia", "people and judges")
    assert [cell.text for cell in people.cells] == ["0.68", "0.50 to 0.81", "9", "50", "98", "2"]
    assert [cell.text for cell in judges.cells[:2]] == ["–", "–"] and judges.note == "judges"


def test_an_interval_of_few_personas_is_marked_as_too_sure() -> None:
    line = AgreementLine("g", ("a", "b"), False, 0.684, 0.5, 0.81, 9, 50, 98, 2)
    few, many = build_agreement_table([line, replace(line, personas=10)]).rows
    assert (few.cells[2].tone, many.cells[2].tone) == ("bad", "")
    assert "too few" in few.cells[2].hover
