"""Checks what is done to tables before they are shown."""

from __future__ import annotations

from tasks.reporting.tables import Cell, Column, Row, Table, drop_empty_columns, name_columns


def make_table(*cells: tuple[str, str]) -> Table:
    rows = tuple(Row(str(n), (Cell(a), Cell(b))) for n, (a, b) in enumerate(cells))
    return Table(name_columns("row", "kept", "missing"), rows, caption="c")


def test_the_first_column_is_text_and_the_others_are_numbers() -> None:
    columns = name_columns("a", "b", Column("c", "key"))
    assert [column.kind for column in columns] == ["text", "number", "key"]


def test_a_column_goes_only_if_no_row_says_anything_in_it() -> None:
    empty = drop_empty_columns(make_table(("1", "0"), ("2", "–"), ("3", "")), ["missing"])
    assert [column.name for column in empty.columns] == ["row", "kept"]
    assert [[cell.text for cell in row.cells] for row in empty.rows] == [["1"], ["2"], ["3"]]
    assert empty.caption == "c"
    told = make_table(("1", "0"), ("2", "4"))
    assert drop_empty_columns(told, ["missing"]) == told


def test_a_column_that_must_stand_stays_empty() -> None:
    table = make_table(("0", "0"))
    assert drop_empty_columns(table, []) == table
    assert not Table((), ()) and table
