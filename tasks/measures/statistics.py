"""Turns scores into means, intervals and paired differences; a missing one is never zero.

Answers of one persona resemble one another, so the persona is the unit that is drawn: standard
errors are clustered by it and the bootstrap resamples it. Nothing here depends on the order of
rows: sums are exact (``math.fsum``) and clusters are taken in the order of their names.

A verdict that could not be read is ``None``. It enters no mean, and every result says how many
there were: a model whose answers the judge cannot score must not look better or worse for it
unseen.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.measures.student_t import t_quantile
from tasks.records import EvalTask, Judgement

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 10_000

_BLOCK = 2_000_000
"""Numbers a bootstrap holds at once, so that 10,000 resamples of 10,000 personas fit."""

_TIE = 1e-12
"""Resampled differences this close to 0 are 0: sums of tenths leave crumbs."""

_Floats = npt.NDArray[np.float64]


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
        low: Percentile bound of the paired cluster bootstrap; ``None`` below two personas.
        high: Upper bound.
        p_value: Two-sided: twice the smaller share of resamples on one side of 0.
        standard_error: Analytic, clustered by persona.
        detectable: Smallest true difference that such a comparison finds with 80 % power.
        rows: Pairs that entered (for a PersonaScore: personas).
        clusters: Personas they belong to.
        missing: Pairs left out because a verdict of either model is missing.
        incomplete: Personas left out because a task has no pair; 0 for a mean over rows.
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
    incomplete: int
    unmatched: int
    resamples: int
    seed: int


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
        if score.known is None:
            missing += 1
        else:
            clusters[score.persona].append(score.known)
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
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models' means over the questions that both were scored on.

    Raises :class:`ValueError` if a model has two scores for one question.
    """
    pairs, unmatched = _pair(ours, theirs)
    return _bootstrap(pairs, seed, resamples, confidence, unmatched=unmatched)


def compare_persona_scores(
    ours: Iterable[Score],
    theirs: Iterable[Score],
    tasks: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models' PersonaScores over the questions that both were scored on.

    A missing verdict of one model takes the question from both, so that no model is measured on
    easier ones; a persona left without a pair in a task is left out and counted.
    """
    pairs, unmatched = _pair(ours, theirs)
    wanted = _wanted_tasks(pairs, tasks)
    pairs = [pair for pair in pairs if pair.task in wanted]
    by_persona = _average_tasks(pairs, wanted)
    entries = [Score(name, name, "", value) for name, value in by_persona.items()]
    found = _bootstrap(entries, seed, resamples, confidence, unmatched=unmatched)
    missing = sum(pair.known is None for pair in pairs)
    return replace(found, missing=missing, incomplete=found.missing)


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


def take_percentiles(values: _Floats, confidence: float) -> tuple[float, float]:
    """Return the bounds of the central share ``confidence`` of resampled values."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


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
        one, two = mine[unit].known, other[unit].known
        difference = None if one is None or two is None else one - two
        pairs.append(replace(mine[unit], value=difference))
    return pairs, len(mine.keys() ^ other.keys())


def _index(scores: Iterable[Score]) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for score in scores:
        if score.unit in found:
            raise ValueError(f"two scores for {score.unit}: give one model, and one judge or panel")
        found[score.unit] = score
    return found


def _bootstrap(
    pairs: Sequence[Score], seed: int, resamples: int, confidence: float, *, unmatched: int
) -> Difference:
    plain = estimate_mean(pairs, confidence=confidence)
    low = high = p_value = detectable = None
    error = plain.standard_error
    if error is not None:
        means = _resample_mean(pairs, seed, resamples)
        low, high = take_percentiles(means, confidence)
        below, above = int((means <= _TIE).sum()), int((means >= -_TIE).sum())
        # The observed sample counts as one resample: no p value of 0 from a finite number.
        p_value = min(1.0, 2 * (1 + min(below, above)) / (1 + resamples))
        detectable = find_detectable_effect(error, plain.clusters, confidence=confidence)
    return Difference(
        mean=plain.mean,
        low=low,
        high=high,
        p_value=p_value,
        standard_error=error,
        detectable=detectable,
        rows=plain.rows,
        clusters=plain.clusters,
        missing=plain.missing,
        incomplete=0,
        unmatched=unmatched,
        resamples=resamples,
        seed=seed,
    )


def _resample_mean(pairs: Iterable[Score], seed: int, resamples: int) -> _Floats:
    """Return the mean of each resample of whole personas, shape ``(resamples,)``."""
    clusters: defaultdict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if pair.known is not None:
            clusters[pair.persona].append(pair.known)
    names = sorted(clusters)
    sums = np.array([math.fsum(clusters[name]) for name in names])
    counts = np.array([len(clusters[name]) for name in names])
    dice = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, _BLOCK // len(names))
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        drawn = dice.integers(len(names), size=(stop - start, len(names)))
        means[start:stop] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means
