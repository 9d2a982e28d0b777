"""Measures how far judges, or people and judges, agree on ordinal scores."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.measures.statistics import CONFIDENCE

_BLOCK = 2_000_000
"""Numbers a bootstrap holds at once, a few times over."""

_Floats = npt.NDArray[np.float64]
_Unit = tuple[float, ...]
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha for ordinal ratings: 1 is perfect, 0 what chance gives.

    Attributes:
        alpha: ``None`` if nothing can be paired or all ratings are one value (0 / 0).
        low: Percentile bound of a bootstrap over personas; ``None`` below two.
        high: Upper bound.
        raters: Raters with at least one rating in a unit that counts.
        personas: Personas that the units which count belong to.
        units: Units with two ratings or more: those that count.
        ratings: Ratings in them.
        single: Units with one rating, which tell nothing about agreement.
        missing: Ratings that were missing.
    """

    alpha: float | None
    low: float | None
    high: float | None
    raters: int
    personas: int
    units: int
    ratings: int
    single: int
    missing: int
    resamples: int
    seed: int


def measure_agreement(
    ratings: Iterable[tuple[str, str, float | None]],
    personas: Mapping[str, str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Agreement:
    """Measure how far raters agree: Krippendorff's alpha for ordinal ratings.

    ``ratings`` are (unit, rater, value); raters are judges, people or both, and any may be
    missing. ``personas`` says whose answer each unit is: answers of one persona resemble one
    another, so the interval draws whole personas. Sources: Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability"; Hayes and Krippendorff 2007, whose macro resamples
    coincidences. Raises :class:`ValueError` if a rater rated a unit twice.
    """
    units: defaultdict[str, dict[str, float]] = defaultdict(dict)
    seen: set[tuple[str, str]] = set()
    missing = 0
    for unit, rater, value in ratings:
        if (unit, rater) in seen:
            raise ValueError(f"{rater} rated {unit} twice")
        seen.add((unit, rater))
        if value is None or not math.isfinite(value):
            missing += 1
        else:
            units[unit][rater] = value
    pairable = {unit: given for unit, given in units.items() if len(given) > 1}
    clusters: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit, given in pairable.items():
        clusters[personas[unit]].append(tuple(sorted(given.values())))
    alpha = low = high = None
    if clusters:
        # Personas with the same ratings are alike, so kinds of them are resampled.
        alike = Counter(tuple(sorted(cluster)) for cluster in clusters.values())
        kinds = sorted(alike)
        coincidences = _count_coincidences(kinds)
        counts = np.array([[alike[kind] for kind in kinds]], dtype=np.float64)
        alpha = _number(float(_alpha(counts, coincidences)[0]))
    if alpha is not None and len(clusters) > 1:
        low, high = _resample_alpha(counts[0], coincidences, seed, resamples, confidence)
    return Agreement(
        alpha=alpha,
        low=low,
        high=high,
        raters=len({rater for given in pairable.values() for rater in given}),
        personas=len(clusters),
        units=len(pairable),
        ratings=sum(len(given) for given in pairable.values()),
        single=sum(len(given) == 1 for given in units.values()),
        missing=missing,
        resamples=resamples,
        seed=seed,
    )


def find_alpha(units: Iterable[Sequence[float]]) -> float | None:
    """Return the alpha of :func:`measure_agreement` alone, from the ratings of each unit."""
    patterns = Counter(tuple(sorted(given)) for given in units if len(given) > 1)
    kinds = sorted(patterns)
    if not kinds:
        return None
    counts = np.array([[patterns[kind] for kind in kinds]], dtype=np.float64)
    return _number(float(_alpha(counts, _count_coincidences([(kind,) for kind in kinds]))[0]))


def find_kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Cohen's kappa with quadratic weights for two raters; ``None`` where it is 0 / 0.

    It is 1 less the mean squared distance of the two, over that of every rating of the one from
    every rating of the other (Cohen 1968). Unlike alpha it takes each rater's own distribution
    for granted: of two who differ in leniency it is the higher one.
    """
    ours, theirs = Counter(one for one, _ in pairs), Counter(two for _, two in pairs)
    seen = math.fsum((one - two) ** 2 for one, two in pairs) * len(pairs)
    expected = math.fsum(
        many * more * (one - two) ** 2 for one, many in ours.items() for two, more in theirs.items()
    )
    return 1 - seen / expected if expected else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _count_coincidences(kinds: Sequence[tuple[_Unit, ...]]) -> _Floats:
    """Return the coincidence matrix of each kind of persona, shape ``(kinds, v, v)``."""
    values = sorted({value for kind in kinds for unit in kind for value in unit})
    place = {value: index for index, value in enumerate(values)}
    matrices = np.zeros((len(kinds), len(values), len(values)))
    for matrix, kind in zip(matrices, kinds, strict=True):
        for unit in kind:
            count = np.bincount([place[value] for value in unit], minlength=len(values))
            matrix += (np.outer(count, count) - np.diag(count)) / (len(unit) - 1)
    return matrices


def _alpha(weights: _Floats, coincidences: _Floats) -> _Floats:
    """Return alpha for each row of weights of kinds; NaN where it is 0 / 0.

    The ordinal distance of two values is the difference of their mid-ranks among all ratings,
    squared: the ratings between them, and half of their own.
    """
    observed = np.tensordot(weights, coincidences, axes=1)
    ratings = observed.sum(axis=2)
    total = ratings.sum(axis=1)
    ranks = np.cumsum(ratings, axis=1) - ratings / 2
    distance = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    seen = (observed * distance).sum(axis=(1, 2))
    expected = (ratings[:, :, None] * ratings[:, None, :] * distance).sum(axis=(1, 2))
    alpha = np.full(len(weights), np.nan)
    varied = expected > 0
    alpha[varied] = 1 - (total[varied] - 1) * seen[varied] / expected[varied]
    return alpha


def _resample_alpha(
    counts: _Floats, coincidences: _Floats, seed: int, resamples: int, confidence: float
) -> tuple[float | None, float | None]:
    personas = round(float(counts.sum()))
    dice = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(coincidences[0].size, counts.size))
    parts = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = dice.multinomial(personas, counts / personas, size=size).astype(np.float64)
        parts.append(_alpha(drawn, coincidences))
    found = np.concatenate(parts)
    found = found[~np.isnan(found)]
    return _take_percentiles(found, confidence) if found.size else (None, None)


def _take_percentiles(values: _Floats, confidence: float) -> tuple[float, float]:
    """Return the bounds of the central share ``confidence`` of resampled values."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
