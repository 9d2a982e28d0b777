"""Counts what a judge is worth on labelled rows: agreement, biases, and what it leaves unsaid.

Every figure has an interval over personas: means and shares the ones of
:mod:`tasks.measures.statistics`, all else the jackknife's. A verdict that could not be read is in
none of them but the missing share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tasks.evaluation.judging.agreement import find_alpha, find_kappa
from tasks.evaluation.judging.calibration import Labelled, measure_area
from tasks.measures.jackknife import Bounded, bound_figure
from tasks.measures.statistics import Estimate, Score, estimate_mean, estimate_share
from tasks.records import TASKS, Judgement

_TO_ONE = (-1.0, 1.0)
_BELOW_ONE = (float("-inf"), 1.0)


@dataclass(frozen=True, slots=True)
class Rated:
    """Labelled row with one verdict on it; ``score`` is ``None`` where none could be read."""

    item: Labelled
    score: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two scores of one row: the judge's, and the one that it is held against."""

    item: Labelled
    ours: float
    theirs: float


@dataclass(frozen=True, slots=True)
class TaskAgreement:
    """How far a judge agrees with the labels, or with another judge, on one task.

    Attributes:
        task: Empty for all of them.
        alpha: Krippendorff's, ordinal.
        kappa: Cohen's, with quadratic weights.
        exact: Share of equal scores.
        within_one: Share within one point.
        lenience: Ours minus theirs, in points.
    """

    task: str
    alpha: Bounded
    kappa: Bounded
    exact: Estimate
    within_one: Estimate
    lenience: Estimate


@dataclass(frozen=True, slots=True)
class Commonest:
    """Score that is given most often: a judge that gives only one says nothing."""

    score: float
    share: float
    share_of_labels: float
    """Of the labels' own commonest score."""


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of one label that got one score; ``score`` is ``None`` where none could be read."""

    label: float
    score: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class OrderBias:
    """What it changes that the rubric's anchors stand from the fifth to the first.

    ``shift`` is in points, turned minus as it is; ``changed`` the share of other verdicts.
    """

    shift: Estimate
    changed: Estimate


@dataclass(frozen=True, slots=True)
class LengthBias:
    """What length is worth to a judge.

    Attributes:
        shift: Points that empty words behind the same answer add.
        higher: Share of answers that score higher with them.
        judge: Spearman's correlation of scores with words of the answer.
        people: That of the labels of the same rows.
        excess: The judge's less the labels'.
    """

    shift: Estimate
    higher: Estimate
    judge: Bounded
    people: Bounded
    excess: Bounded


@dataclass(frozen=True, slots=True)
class SelfPreference:
    """How a judge scores its own answers against their labels, and those of others.

    ``own`` and ``others`` are points above the labels, ``preference`` the difference.
    """

    own: Estimate
    others: Estimate
    preference: Bounded


@dataclass(frozen=True, slots=True)
class CardFigures:
    """All that was counted; ``None`` and empty are what the rows or the judge do not tell.

    ``people`` and ``reference`` hold the agreement over all tasks first, then task by task.
    """

    rows: int
    personas: int
    missing: Estimate
    given: tuple[Given, ...]
    commonest: Commonest | None
    people: tuple[TaskAgreement, ...]
    reference: tuple[TaskAgreement, ...]
    auc: float | None
    order: OrderBias | None
    length: LengthBias | None
    own: SelfPreference | None


def rate_rows(labelled: Iterable[Labelled], judgements: Iterable[Judgement]) -> list[Rated]:
    """Put each row beside one judge's verdict on it."""
    given = {row.answer_key: row.score for row in judgements}
    return [Rated(item, given.get(item.key)) for item in labelled]


def count_figures(
    rated: Sequence[Rated],
    *,
    reference: Sequence[Rated] = (),
    padded: Sequence[Rated] = (),
    turned: Sequence[Rated] = (),
    names: Iterable[str] = (),
) -> CardFigures:
    """Count the figures of a judge; ``names`` are those by which rows may call it as author."""
    known = [Pair(row.item, row.score, row.item.score) for row in rated if row.score is not None]
    return CardFigures(
        rows=len(rated),
        personas=len({row.item.persona for row in rated}),
        missing=estimate_share(_score(row.item, float(row.score is None)) for row in rated),
        given=_count_given(rated),
        commonest=_find_commonest(known),
        people=measure_tasks(known),
        reference=measure_tasks(pair_rows(rated, reference)),
        auc=measure_area(
            [pair.ours for pair in known if pair.item.in_voice is True],
            [pair.ours for pair in known if pair.item.in_voice is False],
        ),
        order=measure_order(pair_rows(turned, rated)) if turned else None,
        length=measure_length(pair_rows(padded, rated), known) if padded else None,
        own=measure_preference(known, names),
    )


def pair_rows(ours: Iterable[Rated], theirs: Iterable[Rated]) -> list[Pair]:
    """Pair the verdicts on the same rows, where both could be read."""
    other = {row.item.key: row.score for row in theirs}
    pairs = []
    for row in ours:
        score = other.get(row.item.key)
        if row.score is not None and score is not None:
            pairs.append(Pair(row.item, row.score, score))
    return pairs


def measure_tasks(pairs: Sequence[Pair]) -> tuple[TaskAgreement, ...]:
    """Return the agreement over all pairs, then of each task that occurs."""
    if not pairs:
        return ()
    found = [measure_agreement("", pairs)]
    for task in TASKS:
        own = [pair for pair in pairs if pair.item.task == task]
        if own and len(own) < len(pairs):
            found.append(measure_agreement(task, own))
    return tuple(found)


def measure_agreement(task: str, pairs: Sequence[Pair]) -> TaskAgreement:
    """Measure how far two raters of the same rows agree."""
    off = {pair.item.key: abs(pair.ours - pair.theirs) for pair in pairs}
    return TaskAgreement(
        task=task,
        alpha=_bound(pairs, lambda some: find_alpha(_list_scores(some)), _BELOW_ONE),
        kappa=_bound(pairs, lambda some: find_kappa(_list_scores(some)), _TO_ONE),
        exact=estimate_share(_score(one.item, float(off[one.item.key] == 0)) for one in pairs),
        within_one=estimate_share(_score(one.item, float(off[one.item.key] <= 1)) for one in pairs),
        lenience=_estimate_shift(pairs),
    )


def measure_order(pairs: Sequence[Pair]) -> OrderBias:
    """Compare the verdicts under the turned rubric with those under the rubric as it is."""
    return OrderBias(
        shift=_estimate_shift(pairs),
        changed=estimate_share(_score(one.item, float(one.ours != one.theirs)) for one in pairs),
    )


def measure_length(padded: Sequence[Pair], known: Sequence[Pair]) -> LengthBias:
    """Compare padded answers with the same as they are, and scores with labels over length."""

    def excess(pairs: Sequence[Pair]) -> float | None:
        judge, people = _correlate_judge(pairs), _correlate_people(pairs)
        return None if judge is None or people is None else judge - people

    return LengthBias(
        shift=_estimate_shift(padded),
        higher=estimate_share(_score(one.item, float(one.ours > one.theirs)) for one in padded),
        judge=_bound(known, _correlate_judge, _TO_ONE),
        people=_bound(known, _correlate_people, _TO_ONE),
        excess=_bound(known, excess, (-2.0, 2.0)),
    )


def measure_preference(known: Sequence[Pair], names: Iterable[str]) -> SelfPreference | None:
    """Compare a judge's lenience to its own answers with that to others'.

    ``None`` unless the rows say of some that the judge wrote them, and of some that it did not.
    """
    called = {name.casefold() for name in names}
    told = [pair for pair in known if pair.item.author]
    own = [pair for pair in told if pair.item.author.casefold() in called]
    others = [pair for pair in told if pair.item.author.casefold() not in called]
    if not own or not others:
        return None
    mine = {pair.item.key for pair in own}

    def prefer(pairs: Sequence[Pair]) -> float | None:
        favoured = [pair.ours - pair.theirs for pair in pairs if pair.item.key in mine]
        rest = [pair.ours - pair.theirs for pair in pairs if pair.item.key not in mine]
        if not favoured or not rest:
            return None
        return sum(favoured) / len(favoured) - sum(rest) / len(rest)

    return SelfPreference(_estimate_shift(own), _estimate_shift(others), _bound(told, prefer))


def correlate_ranks(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Spearman's correlation, ties at their middle rank; ``None`` without any spread."""
    if not pairs:
        return None
    ones, twos = (_rank(values) for values in zip(*pairs, strict=True))
    middle = (len(pairs) + 1) / 2
    both = sum((one - middle) * (two - middle) for one, two in zip(ones, twos, strict=True))
    spread = sum((one - middle) ** 2 for one in ones) * sum((two - middle) ** 2 for two in twos)
    return both / spread**0.5 if spread else None


def count_words(text: str) -> int:
    """Return the words of a text, cut at white space."""
    return len(text.split())


def _rank(values: Sequence[float]) -> list[float]:
    begin, ranks = 0, dict[float, float]()
    for value, group in groupby(sorted(values)):
        size = len(list(group))
        ranks[value] = begin + (size + 1) / 2
        begin += size
    return [ranks[value] for value in values]


def _correlate_judge(pairs: Sequence[Pair]) -> float | None:
    return correlate_ranks([(pair.ours, count_words(pair.item.answer)) for pair in pairs])


def _correlate_people(pairs: Sequence[Pair]) -> float | None:
    return correlate_ranks([(pair.theirs, count_words(pair.item.answer)) for pair in pairs])


def _count_given(rated: Sequence[Rated]) -> tuple[Given, ...]:
    counted = Counter((row.item.score, row.score) for row in rated)
    ordered = sorted(counted, key=lambda pair: (pair[0], pair[1] is None, pair[1] or 0.0))
    return tuple(Given(*pair, counted[pair]) for pair in ordered)


def _find_commonest(known: Sequence[Pair]) -> Commonest | None:
    if not known:
        return None
    given, labels = Counter(pair.ours for pair in known), Counter(pair.theirs for pair in known)
    score, count = min(given.items(), key=lambda found: (-found[1], found[0]))
    return Commonest(score, count / len(known), max(labels.values()) / len(known))


def _bound(
    pairs: Sequence[Pair],
    figure: Callable[[Sequence[Pair]], float | None],
    limits: tuple[float, float] = (float("-inf"), float("inf")),
) -> Bounded:
    return bound_figure(pairs, lambda pair: pair.item.persona, figure, limits=limits)


def _list_scores(pairs: Iterable[Pair]) -> list[tuple[float, float]]:
    return [(pair.ours, pair.theirs) for pair in pairs]


def _estimate_shift(pairs: Iterable[Pair]) -> Estimate:
    return estimate_mean(_score(pair.item, pair.ours - pair.theirs) for pair in pairs)


def _score(item: Labelled, value: float) -> Score:
    return Score(item.key, item.persona, item.task, value)
