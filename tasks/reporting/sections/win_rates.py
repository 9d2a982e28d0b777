"""Says how often people, and the judges beside them, prefer one model's answer to another's."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.reporting.figures import UNKNOWN, write_count, write_share
from tasks.reporting.measure_names import name_judge
from tasks.reporting.tables import Cell, Column, Row, Table, drop_empty_columns, name_columns
from tasks.scores import PEOPLE, WinRate


def build_win_rate_tables(rates: Sequence[WinRate]) -> tuple[Table, ...]:
    """Return a table for every two models that people compared: people first, then judges."""
    pairs = dict.fromkeys((item.model, item.against) for item in rates)
    return tuple(
        _build_table(model, against, [item for item in rates if _compares(item, model, against)])
        for model, against in pairs
    )


def _compares(item: WinRate, model: str, against: str) -> bool:
    return (item.model, item.against) == (model, against)


def _build_table(model: str, against: str, rates: Sequence[WinRate]) -> Table:
    table = Table(
        columns=name_columns(
            "who prefers",
            Column(f"{model} wins", hover="share of pairs, a tie counts half"),
            "95 % interval",
            "wins",
            "ties",
            "losses",
            "personas",
            Column("missing", hover="pairs not decided, or without a verdict; they enter no share"),
            Column("not blind", hover="ratings given when the models were no longer hidden"),
            Column("as people", hover="where neither calls a tie, how often both prefer the same"),
        ),
        rows=tuple(_describe(item) for item in sorted(rates, key=_rank)),
        caption=f"{model} against {against}",
    )
    return drop_empty_columns(table, ("missing", "not blind", "as people"))


def _rank(item: WinRate) -> tuple[bool, bool, str]:
    return item.judge, item.rater != PEOPLE, item.rater


def _describe(item: WinRate) -> Row:
    together = not item.judge and item.rater == PEOPLE
    return Row(
        "people" if together else name_judge(item.rater) if item.judge else item.rater,
        (
            Cell(write_share(item.share)),
            Cell(_write_interval(item.low, item.high)),
            Cell(write_count(item.wins)),
            Cell(write_count(item.ties)),
            Cell(write_count(item.losses)),
            Cell(write_count(item.clusters)),
            Cell(write_count(item.missing), tone="bad" if item.missing else ""),
            Cell(write_count(item.unblinded), tone="bad" if item.unblinded else ""),
            Cell(
                write_share(item.agreed),
                note=""
                if item.agreed is None
                else _write_interval(item.agreed_low, item.agreed_high),
                hover=f"{write_count(item.agreed_rows)} pairs",
            ),
        ),
        note="judge, by its scores" if item.judge else "all together" if together else "person",
    )


def _write_interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{write_share(low).partition(' ')[0]} to {write_share(high)}"
