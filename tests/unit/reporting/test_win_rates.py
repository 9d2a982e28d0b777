"""Checks what the report says of preferences, people's and judges'."""

from __future__ import annotations

from typing import Any

from tasks.reporting.sections.win_rates import build_win_rate_tables
from tasks.scores import PANEL, PEOPLE, WinRate


def make_rate(rater: str, judge: bool = False, **more: Any) -> WinRate:
    values: dict[str, Any] = {
        "model": "tuned", "against": "base", "share": 0.625, "low": 0.4, "high": 0.8125, "wins": 10,
        "ties": 5, "losses": 5, "clusters": 12, "missing": 0, "unblinded": 0, "agreed": None,
        "agreed_low": None, "agreed_high": None, "agreed_rows": 0,
    }  # fmt: skip
    return WinRate(key=rater, rater=rater, judge=judge, **{**values, **more})


def test_people_stand_before_judges_and_both_in_the_same_columns() -> None:
    agreed = {"agreed": 0.75, "agreed_low": 0.5, "agreed_high": 0.9, "agreed_rows": 16}
    judges = [make_rate(name, True, missing=1, **agreed) for name in ("judge", PANEL)]
    (table,) = build_win_rate_tables([*judges, make_rate("ben"), make_rate(PEOPLE)])
    assert table.caption == "tuned against base"
    assert [(row.name, row.note) for row in table.rows] == [
        ("people", "all together"), ("ben", "person"), ("judge", "judge, by its scores"),
        ("panel of all judges", "judge, by its scores"),
    ]  # fmt: skip
    assert [column.name for column in table.columns] == [
        "who prefers", "tuned wins", "95 % interval", "wins", "ties", "losses", "personas",
        "missing", "as people",
    ]  # fmt: skip
    first, last = table.rows[0].cells, table.rows[-1].cells
    assert [cell.text for cell in first] == [
        "62.5 %", "40.0 to 81.2 %", "10", "5", "5", "12", "0", "–",
    ]  # fmt: skip
    assert (last[-1].text, last[-1].note, last[-1].hover) == (
        "75.0 %", "50.0 to 90.0 %", "16 pairs",
    )  # fmt: skip


def test_ratings_that_were_not_blind_are_told() -> None:
    (table,) = build_win_rate_tables([make_rate(PEOPLE, unblinded=3)])
    told = dict(
        zip([column.name for column in table.columns][1:], table.rows[0].cells, strict=True)
    )
    assert (told["not blind"].text, told["not blind"].tone) == ("3", "bad")


def test_every_two_models_have_a_table_of_their_own() -> None:
    rates = [make_rate(PEOPLE), make_rate(PEOPLE, model="other"), make_rate("judge", True)]
    found = build_win_rate_tables(rates)
    assert [(table.caption, len(table.rows)) for table in found] == [
        ("tuned against base", 2), ("other against base", 1),
    ]  # fmt: skip
    assert build_win_rate_tables([]) == ()
