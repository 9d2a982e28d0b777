"""Proves that packing loses nothing, fills rows well, and follows from no order of input."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.rows.packing import Document, Packing, pack_documents

ROW = 100


def make_documents(lengths: list[int]) -> list[Document]:
    return [Document(f"k{place}", tokens, place) for place, tokens in enumerate(lengths)]


def pack(documents: list[Document], *, seed: int = 0, packing: bool = True) -> Packing:
    return pack_documents(documents, max_length=ROW, seed=seed, packing=packing)


def count_tokens(packed: Packing) -> list[int]:
    return [sum(item.tokens for item in row) for row in packed.rows]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, ROW), max_size=120), st.integers(0, 3))
def test_every_document_lies_in_one_row_that_holds_it(lengths: list[int], seed: int) -> None:
    documents = make_documents(lengths)
    packed = pack(documents, seed=seed)
    assert sorted(item.place for row in packed.rows for item in row) == list(range(len(lengths)))
    assert all(0 < tokens <= ROW for tokens in count_tokens(packed))
    assert sorted(count_tokens(packed)) == fill_slowly(lengths)


def fill_slowly(lengths: list[int]) -> list[int]:
    """Pack best fit decreasing by looking at every row every time; return the rows' tokens."""
    filled: list[int] = []
    for tokens in sorted(lengths, reverse=True):
        fitting = [place for place, used in enumerate(filled) if used + tokens <= ROW]
        if fitting:
            filled[max(fitting, key=lambda place: filled[place])] += tokens
        else:
            filled.append(tokens)
    return sorted(filled)


def test_each_goes_into_the_fullest_row_that_holds_it() -> None:
    packed = pack(make_documents([70, 60, 40, 30]))
    assert sorted(sorted(item.tokens for item in row) for row in packed.rows) == [
        [30, 70],
        [40, 60],
    ]
    assert packed.padding_share == 0


def test_no_order_of_input_shows() -> None:
    documents = make_documents([random.Random(1).randint(1, 60) for _ in range(300)])
    shuffled = random.Random(2).sample(documents, len(documents))
    assert pack(documents).rows == pack(shuffled).rows
    assert pack(documents, packing=False).rows == pack(shuffled, packing=False).rows


@pytest.mark.parametrize("packing", [True, False])
def test_the_seed_decides_and_rows_are_not_sorted_by_length(packing: bool) -> None:
    drawn = random.Random(1)
    documents = make_documents([drawn.randint(1, 60) for _ in range(300)])
    packed = pack(documents, packing=packing)
    assert packed.rows != pack(documents, seed=1, packing=packing).rows
    longest = [max(item.tokens for item in row) for row in packed.rows]
    falls = sum(before > after for before, after in pairwise(longest)) / len(longest)
    assert 0.3 < falls < 0.7


def test_without_packing_every_document_has_its_row() -> None:
    packed = pack(make_documents([10, 20, 30]), packing=False)
    assert sorted(count_tokens(packed)) == [10, 20, 30]
    assert packed.padding_share == pytest.approx(1 - 60 / 300)


def test_the_padding_share_is_what_no_document_fills() -> None:
    assert pack(make_documents([90, 80])).padding_share == pytest.approx(0.15)
    assert pack([]) == Packing((), 0.0)


def test_paper_like_lengths_waste_little() -> None:
    drawn = random.Random(0)
    lengths = [min(4096, int(drawn.lognormvariate(6.6, 0.35))) for _ in range(20_000)]
    packed = pack_documents(make_documents(lengths), max_length=4096, seed=0)
    assert packed.padding_share < 0.02


def test_a_document_longer_than_a_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="k1 is longer than 100"):
        pack(make_documents([5, 101]))
