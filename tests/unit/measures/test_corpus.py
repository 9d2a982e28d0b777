"""Proves that numbers of runs of words tell them apart as the words do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures import corpus as corpora
from tasks.measures.corpus import Corpus
from tasks.measures.kinds.diversity import measure_distinct

ANSWERS = st.lists(st.lists(st.sampled_from(("a", "b", "ab", "é", "慢")), max_size=8), max_size=8)


def list_runs(answers: Sequence[Sequence[str]], width: int) -> list[tuple[int, tuple[str, ...]]]:
    return [
        (place, tuple(words[first : first + width]))
        for place, words in enumerate(answers)
        for first in range(len(words) - width + 1)
    ]


def check(answers: Sequence[Sequence[str]], width: int) -> None:
    numbers, places = Corpus(list(map(" ".join, answers)), []).number_runs(width)
    runs = list_runs(answers, width)
    assert places.tolist() == [place for place, _ in runs]
    told = {run: number for (_, run), number in zip(runs, numbers.tolist(), strict=True)}
    assert [told[run] for _, run in runs] == numbers.tolist()
    assert len(set(told.values())) == len(told)


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.integers(1, 4))
def test_equal_runs_and_no_others_have_one_number(answers: list[list[str]], width: int) -> None:
    check(answers, width)


@settings(max_examples=150, deadline=None)
@given(ANSWERS)
def test_so_they_have_where_there_are_too_many_words_to_write_runs_as_numbers(
    answers: list[list[str]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "_MOST", 1)
        check(answers, 4)


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.integers(1, 3))
def test_distinct_runs_are_what_a_set_of_them_counts(answers: list[list[str]], width: int) -> None:
    runs = [run for _, run in list_runs(answers, width)]
    expected = len(set(runs)) / len(runs) if runs else None
    assert measure_distinct(Corpus(list(map(" ".join, answers)), []), width) == expected
