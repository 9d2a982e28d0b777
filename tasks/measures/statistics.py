"""Turns scores into means, intervals and paired differences; a missing one is never zero.

Answers of one persona resemble one another, so the persona is the unit that is drawn: standard
errors are clustered by it, and intervals take Student's t with as many degrees of freedom as there
are personas but one. A bootstrap over few personas would be too sure: of four it covers 80 % where
it says 95. Nothing here depends on the order of rows: sums are exact (``math.fsum``).

A verdict that could not be read is ``None``. It enters no mean, and every result says how many
there were: a model whose answers the judge cannot score must not look better or worse for it
unseen.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.measures.student_t import t_probability, t_quantile
from tasks.records import EvalTask, Judgement

CONFIDENCE = 0.95
POWER = 0.8

FEW_PERSONAS = 10
"""Below so many an interval rests on the rows being about normal, and is wide."""

_TIE = 1e-12
"""Differences this close to 0 are 0: sums of tenths leave crumbs."""

_MOST_SIGNS = 40
"""Personas beyond which a sign test's p value is not told from 0."""


@dataclass(frozen=True, slots=True)
class Score:
    """One number about one model's answer: a judge's verdict, or a measure without a judge.

    ``unit`` names what was scored, the same for every model (the question's key), so that models
    can be paired on it. A ``value`` that is ``None`` or no finite number is missing.
    """

    unit: str
    persona: str
    task: str
    value: float | None

    @property
    def known(self) -> float | None:
        """Return the value, or ``None`` if it is missing."""
        return self.value if self.value is not None and math.isfinite(self.value) else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean with its spread.

    Attributes:
        mean: ``None`` without rows.
        sd: Sample standard deviation over rows; ``None`` below two rows.
        standard_error: Clustered by persona; ``None`` below two clusters, as are the bounds.
        low: Lower bound of the interval; not clipped to the scale.
        high: Upper bound.
        rows: Values that entered.
        clusters: Personas they belong to.
        missing: Values that were missing and did not enter.
    """

    mean: float | None
    sd: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    rows: int
    clusters: int
    missing: int

    @property
    def missing_rate(self) -> float | None:
        """Return the share of missing values; ``None`` if there were no values at all."""
        return _share(self.missing, self.rows + self.missing)


@dataclass(frozen=True, slots=True)
class PersonaScore:
    """PersonaGym's score: per persona the mean of its tasks' means, then over personas.

    A persona that lacks a whole task is left out and counted, for tasks differ in difficulty (in
    the paper by more than a point) and a mean over other tasks is no PersonaScore.

    Attributes:
        over_personas: Mean, standard deviation and interval; one row and one cluster a persona,
            ``missing`` the personas left out.
        tasks: What a persona must have.
        missing: Verdicts that were missing.
        by_persona: The complete personas' scores, by name.
    """

    over_personas: Estimate
    tasks: tuple[str, ...]
    missing: int
    by_persona: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one model is above another on the same questions.

    Attributes:
        mean: Ours minus theirs; ``None`` without pairs.
        low: Lower bound by Student's t, clustered by persona; ``None`` below two personas.
        high: Upper bound.
        p_value: Two-sided, of the same t; where all personas differ alike, at least a sign
            test's.
        standard_error: Clustered by persona, and never below what was not seen could add.
        detectable: Smallest true difference that such a comparison finds with 80 % power; never
            0, ``None`` where there is no spread to reckon it from.
        rows: Pairs that entered (for a PersonaScore: personas).
        clusters: Personas they belong to.
        missing: Pairs left out because a verdict of either model is missing.
        unmatched: Questions that only one of the models has.
    """

    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    standard_error: float | None
    detectable: float | None
    rows: int
    clusters: int
    missing: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class MissingCount:
    """Count of the missing verdicts of one judge on one model's answers to one task."""

    model: str
    judge: str
    task: EvalTask
    rows: int
    missing: int

    @property
    def rate(self) -> float:
        """Return the missing share of all rows."""
        return self.missing / self.rows


def take_scores(judgements: Iterable[Judgement], model: str, judge: str) -> list[Score]:
    """Return one judge's verdicts on one model's answers."""
    return [
        Score(row.question_key, row.persona_key, row.task, row.score)
        for row in judgements
        if row.model == model and row.judge == judge
    ]


def average_judges(judgements: Iterable[Judgement], model: str) -> list[Score]:
    """Return a panel's mean verdict on each answer of a model.

    It is missing unless every judge of the panel gave one: judges differ in leniency, and a mean
    over those who answered would move with who answered.
    """
    rows = [row for row in judgements if row.model == model]
    panel = {row.judge for row in rows}
    answers: defaultdict[str, list[Judgement]] = defaultdict(list)
    for row in rows:
        answers[row.answer_key].append(row)
    scores = []
    for answer in answers.values():
        given = {row.judge: row.score for row in answer if row.score is not None}
        first = answer[0]
        mean = math.fsum(given.values()) / len(panel) if given.keys() == panel else None
        scores.append(Score(first.question_key, first.persona_key, first.task, mean))
    return scores


def count_missing(judgements: Iterable[Judgement]) -> list[MissingCount]:
    """Count missing verdicts by model, judge and task, sorted by these."""
    rows: Counter[tuple[str, str, EvalTask]] = Counter()
    missing: Counter[tuple[str, str, EvalTask]] = Counter()
    for row in judgements:
        cell = (row.model, row.judge, row.task)
        rows[cell] += 1
        missing[cell] += row.score is None
    return [MissingCount(*cell, rows[cell], missing[cell]) for cell in sorted(rows)]


def estimate_mean(scores: Iterable[Score], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a mean over rows, with an interval clustered by persona.

    The variance is the sandwich estimator with the small-sample factor G / (G - 1) (CR1 of a
    model with nothing but an intercept) and the interval takes t quantiles with G - 1 degrees of
    freedom, G personas. With one row a persona that is the textbook interval exactly. Rows of
    equal value give an interval of no width: read it beside ``clusters``.
    """
    clusters: defaultdict[str, list[float]] = defaultdict(list)
    missing = 0
    for score in scores:
        known = score.known
        if known is None:
            missing += 1
        else:
            clusters[score.persona].append(known)
    values = [value for group in clusters.values() for value in group]
    rows, groups = len(values), len(clusters)
    if not rows:
        return Estimate(None, None, None, None, None, 0, 0, missing)
    mean = math.fsum(values) / rows
    if rows < 2:
        return Estimate(mean, None, None, None, None, rows, groups, missing)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (rows - 1))
    if groups < 2:
        return Estimate(mean, sd, None, None, None, rows, groups, missing)
    drift = [math.fsum(value - mean for value in group) for group in clusters.values()]
    squares = math.fsum(part * part for part in drift)
    error = math.sqrt(groups / (groups - 1) * squares) / rows
    reach = error * t_quantile(0.5 + confidence / 2, groups - 1)
    return Estimate(mean, sd, error, mean - reach, mean + reach, rows, groups, missing)


def estimate_share(scores: Iterable[Score], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a share, with Wilson's interval: it has a width, and stays between 0 and 1.

    Rows of one persona hang together, so they count as fewer: as many as would give the clustered
    error if they did not. Where all rows are equal that cannot be told, and a persona counts as
    one row.
    """
    found = estimate_mean(scores, confidence=confidence)
    mean, error = found.mean, found.standard_error
    if mean is None or error is None:
        return found
    share = min(max(mean, 0.0), 1.0)
    spread = share * (1 - share)
    rows = float(found.clusters)
    if spread > _TIE and error > _TIE:
        rows = min(float(found.rows), spread / error**2)
    reach = t_quantile(0.5 + confidence / 2, found.clusters - 1)
    scale = 1 + reach**2 / rows
    centre = (share + reach**2 / (2 * rows)) / scale
    half = reach * math.sqrt(spread / rows + reach**2 / (4 * rows**2)) / scale
    return replace(found, low=max(0.0, centre - half), high=min(1.0, centre + half))


def score_personas(
    scores: Iterable[Score],
    tasks: Sequence[str] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> PersonaScore:
    """Score a model as PersonaGym does.

    ``tasks`` are what a persona must have; left out, all that occur among the scores. Scores of
    other tasks are not looked at.
    """
    rows = list(scores)
    wanted = _wanted_tasks(rows, tasks)
    rows = [score for score in rows if score.task in wanted]
    by_persona = _average_tasks(rows, wanted)
    entries = [Score(name, name, "", value) for name, value in by_persona.items()]
    return PersonaScore(
        over_personas=estimate_mean(entries, confidence=confidence),
        tasks=wanted,
        missing=sum(score.known is None for score in rows),
        by_persona=tuple((name, value) for name, value in by_persona.items() if value is not None),
    )


def compare_rows(
    ours: Iterable[Score],
    theirs: Iterable[Score],
    *,
    share: bool = False,
    step: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models' means over the questions that both were scored on.

    ``share`` says that rows are between 0 and 1: bounds stay between -1 and 1, and the error is
    never below that of half a pair more each way (Agresti and Min 2005). ``step`` is the least by
    which rows of other measures differ, 0 where they are on no grid; see
    :func:`find_least_error`.

    Raises :class:`ValueError` if a model has two scores for one question.
    """
    pairs, unmatched = _pair(ours, theirs)
    step = 1.0 if share else step
    return _judge(pairs, confidence, unmatched=unmatched, share=share, step=step)


def compare_persona_scores(
    ours: Iterable[Score],
    theirs: Iterable[Score],
    tasks: Sequence[str] | None = None,
    *,
    step: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models' PersonaScores over the questions that both were scored on.

    A missing verdict of one model takes the question from both, so that no model is measured on
    easier ones; a persona left without a pair in a task is left out and counted. ``step`` is as
    in :func:`compare_rows`.
    """
    pairs, unmatched = _pair(ours, theirs)
    wanted = _wanted_tasks(pairs, tasks)
    pairs = [pair for pair in pairs if pair.task in wanted]
    by_persona = _average_tasks(pairs, wanted)
    entries = [Score(name, name, "", value) for name, value in by_persona.items()]
    found = _judge(entries, confidence, unmatched=unmatched, step=step)
    missing = sum(pair.known is None for pair in pairs)
    return replace(found, missing=missing)


def find_detectable_effect(
    standard_error: float,
    clusters: int,
    *,
    confidence: float = CONFIDENCE,
    power: float = POWER,
) -> float:
    """Return the smallest true difference found with the given power, two-sided.

    It is the standard error times the sum of the two t quantiles (Bloom 1995), which for ten
    personas or more is within a percent or two of the exact answer by the noncentral t. To plan a
    run with one difference a persona, give ``sd / sqrt(clusters)``. Raises :class:`ValueError`
    below two clusters.
    """
    degrees = clusters - 1
    quantiles = t_quantile(0.5 + confidence / 2, degrees) + t_quantile(power, degrees)
    return standard_error * quantiles


def find_least_error(found: Estimate, step: float, *, share: bool = False) -> float:
    """Return the standard error that a paired difference is not allowed to be below.

    Where every persona differs alike, nothing is seen of how they spread, and an error of 0 would
    make two personas as good as two hundred. Then it is the larger of two: that of one persona
    more which differs by half a ``step`` each way, and the one by which Student's t says of the
    difference what a sign test says of so many signs alike, p = 2 / 2 ** personas: below six
    personas nothing is told apart.
    """
    if found.mean is None or found.standard_error is None:
        return 0.0
    if found.standard_error > _TIE * max(1.0, abs(found.mean)):
        return step / (found.rows + 2) if share else 0.0
    signs = min(found.clusters, _MOST_SIGNS)
    by_sign = abs(found.mean) / t_quantile(1 - 0.5**signs, signs - 1)
    return max(step / (found.clusters + 2), by_sign)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _wanted_tasks(scores: Iterable[Score], tasks: Sequence[str] | None) -> tuple[str, ...]:
    found = sorted({score.task for score in scores}) if tasks is None else tasks
    return tuple(dict.fromkeys(found))


def _average_tasks(scores: Iterable[Score], tasks: Sequence[str]) -> dict[str, float | None]:
    """Return each persona's mean of task means, by name; ``None`` if it lacks a task."""
    by_persona: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for score in scores:
        persona = by_persona[score.persona]
        if score.known is not None:
            persona[score.task].append(score.known)
    return {name: _average_persona(by_persona[name], tasks) for name in sorted(by_persona)}


def _average_persona(values: Mapping[str, list[float]], tasks: Sequence[str]) -> float | None:
    means = [math.fsum(values[task]) / len(values[task]) for task in tasks if values.get(task)]
    return math.fsum(means) / len(tasks) if len(means) == len(tasks) else None


def _pair(ours: Iterable[Score], theirs: Iterable[Score]) -> tuple[list[Score], int]:
    """Return the differences on shared units, and how many units only one side has."""
    mine, other = _index(ours), _index(theirs)
    pairs = []
    for unit in mine.keys() & other.keys():
        own = mine[unit]
        one, two = own.known, other[unit].known
        difference = None if one is None or two is None else one - two
        pairs.append(Score(unit, own.persona, own.task, difference))
    return pairs, len(mine.keys() ^ other.keys())


def _index(scores: Iterable[Score]) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for score in scores:
        if score.unit in found:
            raise ValueError(f"two scores for {score.unit}: give one model, and one judge or panel")
        found[score.unit] = score
    return found


def _judge(
    pairs: Sequence[Score],
    confidence: float,
    *,
    unmatched: int,
    step: float,
    share: bool = False,
) -> Difference:
    found = estimate_mean(pairs, confidence=confidence)
    low = high = p_value = detectable = None
    mean, error, degrees = found.mean, found.standard_error, found.clusters - 1
    if mean is not None and error is not None:
        error = max(error, find_least_error(found, step, share=share))
        reach = error * t_quantile(0.5 + confidence / 2, degrees)
        low, high = mean - reach, mean + reach
        p_value = _find_p_value(mean, error, degrees)
        if error > _TIE:
            detectable = find_detectable_effect(error, found.clusters, confidence=confidence)
        if share:
            low, high = max(-1.0, low), min(1.0, high)
    return Difference(
        mean=mean,
        low=low,
        high=high,
        p_value=p_value,
        standard_error=error,
        detectable=detectable,
        rows=found.rows,
        clusters=found.clusters,
        missing=found.missing,
        unmatched=unmatched,
    )


def _find_p_value(mean: float, error: float, degrees: int) -> float:
    if abs(mean) <= _TIE:
        return 1.0
    return 2 * (1 - t_probability(abs(mean) / error, degrees))
