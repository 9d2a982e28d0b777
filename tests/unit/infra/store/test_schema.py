"""Proves that records survive the way to Parquet and back, nested turns included."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.store.schema import arrow_schema, from_plain, to_plain, to_table
from tasks.records import Dialogue, EvalQuestion, Turn


@dataclass(frozen=True, slots=True)
class Sample:
    key: str
    kind: Literal["a", "b"]
    count: int
    share: float
    done: bool
    note: str | None
    tags: tuple[str, ...]
    turns: tuple[Turn, ...]
    last: Turn | None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TURN = st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), TEXT)
SAMPLE = st.builds(
    Sample,
    key=TEXT,
    kind=st.sampled_from(["a", "b"]),
    count=st.integers(-(2**63), 2**63 - 1),
    share=st.floats(allow_nan=False),
    done=st.booleans(),
    note=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    turns=st.lists(TURN, max_size=3).map(tuple),
    last=st.none() | TURN,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(SAMPLE, max_size=4))
def test_records_come_back_from_parquet_as_they_went(rows: list[Sample]) -> None:
    file = BytesIO()
    pq.write_table(to_table(Sample, rows), file)
    frame = pl.read_parquet(BytesIO(file.getvalue()))
    assert [from_plain(Sample, row) for row in frame.iter_rows(named=True)] == rows


def test_columns_are_the_fields_in_their_order_with_their_types() -> None:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    assert arrow_schema(Sample) == pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("count", pa.int64(), nullable=False),
            pa.field("share", pa.float64(), nullable=False),
            pa.field("done", pa.bool_(), nullable=False),
            pa.field("note", pa.string(), nullable=True),
            pa.field("tags", pa.list_(pa.string()), nullable=False),
            pa.field("turns", pa.list_(turn), nullable=False),
            pa.field("last", turn, nullable=True),
        ]
    )


def test_a_rejected_row_may_have_every_column_empty() -> None:
    assert all(field.nullable for field in arrow_schema(Dialogue, nullable=True))


def test_no_rows_still_have_the_columns() -> None:
    assert to_table(Dialogue, []).schema == arrow_schema(Dialogue)


def test_columns_of_the_envelope_are_left_out_of_the_record() -> None:
    plain = {**to_plain(Turn("user", "Hi")), "status": "accepted"}
    assert from_plain(Turn, plain) == Turn("user", "Hi")


def test_a_column_that_came_later_is_its_default_where_it_is_missing() -> None:
    names = ("key", "suite", "persona_key", "persona", "task", "question", "setting")
    assert from_plain(EvalQuestion, dict.fromkeys(names, "x")).parents == ()


def test_a_missing_column_is_an_error_not_a_default() -> None:
    with pytest.raises(KeyError, match="content"):
        from_plain(Turn, {"role": "user"})
