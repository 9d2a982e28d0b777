"""Says what the rows of a node are called, what they say in a line, and who their parents are."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class RowKind:
    """What the lineage of a row shows of it.

    Attributes:
        name: What one row is called.
        text: What it says, from the columns of its record.
        parents: What each of a row's parents is called, in the order in which the row names them.
            Only the nearest: a dialogue's persona is reached through its character.
        columns: Where their keys stand, of rows without a list of parents.
        beside: Columns that say more of them.
        link: What the parents of a row are called, where that depends on the row.
        shows_profile: The model was shown the profile of the persona's character.
    """

    name: str
    text: pl.Expr
    parents: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    link: pl.Expr | None = None
    shows_profile: bool = False


def take_turn(column: str, place: int = 0) -> pl.Expr:
    """Return the content of one of a column's turns, by default the first."""
    return pl.col(column).list.get(place, null_on_oob=True).struct.field("content")
