"""Checks every figure of a judge's card against values reckoned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tasks.evaluation.judging.agreement import measure_agreement
from tasks.evaluation.judging.calibration import CALIBRATION, Labelled
from tasks.evaluation.judging.card import (
    Commonest,
    Given,
    Rated,
    correlate_ranks,
    count_figures,
    rate_rows,
)
from tasks.records import EvalTask, Judgement

LABELS = (1.0, 2.0, 3.0, 4.0, 5.0, 1.0)
GIVEN = (1.0, 2.0, 4.0, 4.0, None, 3.0)


def make_rows(
    labels: Sequence[float] = LABELS,
    scores: Sequence[float | None] = GIVEN,
    *,
    words: Sequence[int] = (),
    authors: Sequence[str] = (),
    tasks: Sequence[EvalTask] = (),
) -> list[Rated]:
    """Make rows, two a persona, with answers of so many words."""
    rows = []
    for place, (label, score) in enumerate(zip(labels, scores, strict=True)):
        item = Labelled(
            key=f"k{place}",
            persona=f"P{place // 2}",
            profile="",
            task=tasks[place] if tasks else "linguistic_habits",
            question="Why?",
            answer=" ".join(["word"] * (words[place] if words else 3)),
            score=label,
            in_voice=None,
            author=authors[place] if authors else "",
        )
        rows.append(Rated(item, score))
    return rows


def score_again(rows: Sequence[Rated], *scores: float | None) -> list[Rated]:
    return [replace(row, score=score) for row, score in zip(rows, scores, strict=True)]


def test_agreement_is_over_the_verdicts_that_could_be_read() -> None:
    figures = count_figures(make_rows())
    (people,) = figures.people
    # Off by 0, 0, 1, 0, and 2.
    assert people.exact.mean == pytest.approx(3 / 5)
    assert people.within_one.mean == pytest.approx(4 / 5)
    assert people.lenience.mean == pytest.approx(3 / 5)
    assert (people.alpha.rows, people.alpha.personas) == (5, 3)
    units = [(f"u{n}", who, value) for n, pair in enumerate(
        [(1.0, 1.0), (2.0, 2.0), (4.0, 3.0), (4.0, 4.0), (3.0, 1.0)]
    ) for who, value in zip("ab", pair, strict=True)]  # fmt: skip
    whose = {unit: unit for unit, _, _ in units}
    assert people.alpha.value == pytest.approx(measure_agreement(units, whose, seed=0).alpha)
    assert figures.missing.mean == pytest.approx(1 / 6)
    assert figures.missing.rows == 6


def test_a_judge_that_says_what_the_labels_say_is_perfect() -> None:
    (people,) = count_figures(make_rows(scores=LABELS)).people
    assert (people.alpha.value, people.kappa.value) == (1.0, 1.0)
    assert (people.alpha.low, people.alpha.high) == (1.0, 1.0)


def test_tasks_stand_behind_all_of_them_and_only_where_there_are_several() -> None:
    tasks: tuple[EvalTask, ...] = ("expected_action", "toxicity_control") * 3
    found = count_figures(make_rows(tasks=tasks)).people
    assert [one.task for one in found] == ["", "expected_action", "toxicity_control"]
    # Off by 0 and 1; off by 0, 0 and 2.
    assert [one.exact.mean for one in found[1:]] == [pytest.approx(1 / 2), pytest.approx(2 / 3)]


def test_a_second_judge_is_compared_where_both_gave_a_verdict() -> None:
    rows = make_rows()
    (found,) = count_figures(rows, reference=score_again(rows, 1, 1, 4, None, 5, 3)).reference
    assert found.alpha.rows == 4
    assert found.exact.mean == pytest.approx(3 / 4)


def test_scores_are_counted_by_label_missing_ones_too() -> None:
    figures = count_figures(make_rows())
    assert figures.given[:2] == (Given(1.0, 1.0, 1), Given(1.0, 3.0, 1))
    assert figures.given[-1] == Given(5.0, None, 1)
    assert figures.commonest == Commonest(4.0, 2 / 5, 2 / 5)
    assert count_figures(make_rows(scores=[None] * 6)).commonest is None


def test_padding_is_compared_row_by_row() -> None:
    rows = make_rows()
    length = count_figures(rows, padded=score_again(rows, 2, 2, 3, 5, 4, None)).length
    assert length is not None
    # +1, 0, -1, +1; the fifth was missing before, the sixth is now.
    assert length.shift.mean == pytest.approx(1 / 4)
    assert length.shift.rows == 4
    assert length.higher.mean == pytest.approx(2 / 4)


def test_score_and_length_are_correlated_beside_label_and_length() -> None:
    rows = make_rows((1, 2, 3), (3, 1, 2), words=(5, 6, 9))
    length = count_figures(rows, padded=rows).length
    assert length is not None
    assert length.people.value == pytest.approx(1.0)
    # Ranks 3, 1, 2 against 1, 2, 3: 1 - 6 * (4 + 1 + 1) / 24.
    assert length.judge.value == pytest.approx(-0.5)
    assert length.excess.value == pytest.approx(-1.5)


def test_ranks_are_correlated_by_hand() -> None:
    # Ranks 1, 2, 3 against 1, 3, 2: 1 - 6 * 2 / 24.
    assert correlate_ranks([(1, 10), (2, 20), (3, 15)]) == pytest.approx(0.5)
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / sqrt(1.5 * 2).
    assert correlate_ranks([(1, 10), (1, 20), (3, 30)]) == pytest.approx(1.5 / 3**0.5)
    assert correlate_ranks([(1, 10), (1, 20)]) is None
    assert correlate_ranks([]) is None


def test_the_turned_rubric_is_compared_with_the_rubric_as_it_is() -> None:
    rows = make_rows()
    order = count_figures(rows, turned=score_again(rows, 1, 3, 4, 5, 5, 3)).order
    assert order is not None
    assert order.shift.mean == pytest.approx(2 / 5)
    assert order.shift.rows == 5
    assert order.changed.mean == pytest.approx(2 / 5)
    assert count_figures(rows).order is None


def test_self_preference_is_lenience_to_own_answers_over_that_to_others() -> None:
    authors = ("Mine", "other", "mine", "other", "mine", "")
    own = count_figures(make_rows(authors=authors), names=("judge", "mine")).own
    assert own is not None
    # Own: 0 and +1; others: 0 and 0. Whose author nobody names is left out.
    assert own.own.mean == pytest.approx(1 / 2)
    assert own.own.rows == 2
    assert (own.others.mean, own.others.rows) == (0.0, 2)
    assert own.preference.value == pytest.approx(1 / 2)
    assert own.preference.rows == 4
    assert count_figures(make_rows(authors=authors), names=("third",)).own is None
    assert count_figures(make_rows(), names=("mine",)).own is None


def test_a_verdict_belongs_to_the_row_whose_key_it_names() -> None:
    rows = make_rows()
    labelled = [row.item for row in rows]
    judgements = [
        Judgement("j", "k1", "q", "p", "linguistic_habits", CALIBRATION, "judge", 4.0, "")
    ]
    assert [row.score for row in rate_rows(labelled, judgements)] == [None, 4.0, *[None] * 4]
