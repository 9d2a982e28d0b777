"""Checks that every measure has a name and is written in its own unit."""

from __future__ import annotations

from tasks.records import TASKS
from tasks.reporting.figures import MINUS
from tasks.reporting.measure_names import (
    name_judge,
    name_task,
    write_change,
    write_change_interval,
    write_difference,
    write_interval,
    write_value,
)
from tasks.scores import PANEL


def test_shares_are_written_as_per_cent_and_scores_with_two_digits() -> None:
    assert write_value("attribution", 0.813) == "81.3 %"
    assert write_value("persona_score", 3.857) == "3.86"
    assert write_value("profile_gain", -0.0314) == f"{MINUS}0.031"
    assert write_value("attribution", None) == "–"


def test_changes_have_a_sign_and_those_of_shares_are_percentage_points() -> None:
    assert write_change("attribution", 0.57) == "+57.0 pp"
    assert write_change("attribution", 0.12, signed=False) == "12.0 pp"
    assert write_change("score", -0.2) == f"{MINUS}0.20"


def test_an_interval_names_its_unit_once_or_is_left_out() -> None:
    assert write_interval("attribution", 0.7, 0.9) == "70.0 to 90.0 %"
    assert write_change_interval("attribution", -0.1, 0.2) == f"{MINUS}10.0 to +20.0 pp"
    assert write_change_interval("score", -0.1, 0.2) == f"{MINUS}0.10 to +0.20"
    assert write_interval("score", None, 0.2) == ""


def test_a_difference_of_shares_is_in_percentage_points() -> None:
    assert write_difference("attribution", -0.573) == "57.3 percentage points"
    assert write_difference("persona_score", 0.851) == "0.85 points"
    assert write_difference("persona_score", None) == "–"


def test_tasks_and_judges_have_names_for_people() -> None:
    assert name_task(TASKS[2]) == "Linguistic habits"
    assert name_task("arc_easy") == "arc_easy"
    assert name_judge(PANEL) != PANEL and name_judge("gpt") == "gpt"
