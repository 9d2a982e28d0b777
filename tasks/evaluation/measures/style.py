"""Measures style without a judge: repetition, refusals, admissions, and answers cut off.

All of it is exact and cheap, and means the same for a model of any size. Refusals and admissions
are found by English phrases (:mod:`infra.text.refusals`), which err towards keeping: their
rates are lower bounds, and 0 for a model that answers in another language.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes
from infra.text.wording import make_shingles, measure_jaccard, split_words
from tasks.evaluation.statistics import Estimate, Score, estimate_mean
from tasks.records import Answer

OPENING_WORDS = 3
MOST_PAIRS = 20_000

_SHINGLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Openings:
    """How alike answers begin.

    Attributes:
        answers: Answers with a word in them; the others have no opening.
        distinct: Different openings.
        commonest: The words of the commonest opening, folded; of equals the first by alphabet.
        top_share: Share of the answers that begin with it.
        entropy: Entropy of the openings over its greatest possible value, ``log(answers)``: 1 if
            all differ, 0 if all are one; ``None`` below two answers.
    """

    answers: int
    distinct: int
    commonest: str
    top_share: float | None
    entropy: float | None


@dataclass(frozen=True, slots=True)
class SelfSimilarity:
    """How much answers of different characters share: mean Jaccard of word trigrams.

    ``mean`` is over ``pairs`` pairs, ``None`` without any; ``exhaustive`` if these are all.
    """

    mean: float | None
    pairs: int
    exhaustive: bool


@dataclass(frozen=True, slots=True)
class Style:
    """Style of one model's answers; compare models on the same questions only.

    Attributes:
        answers: How many there are.
        empty: How many have no word; they count in every rate and in no measure of words.
        words: Mean length in words, of answers that have any.
        distinct: Distinct-1, -2 and -3.
        openings: How alike the answers begin.
        similarity: How alike answers of different characters are.
        refusals: Share that refuses, with an interval clustered by persona, like the next two.
        ai_admissions: Share that admits to being a model though the persona is none.
        stops: Share that ends by itself, within the token limit.
    """

    answers: int
    empty: int
    words: float | None
    distinct: tuple[float | None, float | None, float | None]
    openings: Openings
    similarity: SelfSimilarity
    refusals: Estimate
    ai_admissions: Estimate
    stops: Estimate


def measure_style(answers: Sequence[Answer], *, seed: int) -> Style:
    """Measure the answers of one model; their order changes nothing.

    The seed draws the pairs whose similarity is measured.
    """
    words = [split_words(answer.answer) for answer in answers]
    spoken = [entry for entry in words if entry]
    characters = [answer.persona_key for answer in answers]
    return Style(
        answers=len(answers),
        empty=len(answers) - len(spoken),
        words=sum(map(len, spoken)) / len(spoken) if spoken else None,
        distinct=(
            measure_distinct(spoken, 1),
            measure_distinct(spoken, 2),
            measure_distinct(spoken, 3),
        ),
        openings=measure_openings(spoken),
        similarity=measure_self_similarity(words, characters, seed=seed),
        refusals=estimate_mean(score_refusals(answers)),
        ai_admissions=estimate_mean(score_ai_admissions(answers)),
        stops=estimate_mean(score_stops(answers)),
    )


def score_refusals(answers: Sequence[Answer]) -> list[Score]:
    """Score 1 for an answer that refuses, 0 for another: ready to be compared over models."""
    return [_score(row, find_refusal(fold_quotes(row.answer)) is not None) for row in answers]


def score_ai_admissions(answers: Sequence[Answer]) -> list[Score]:
    """Score 1 for an answer that admits to being a model though its persona is none."""
    return [
        _score(row, find_ai_admission(fold_quotes(row.answer), row.persona) is not None)
        for row in answers
    ]


def score_stops(answers: Sequence[Answer]) -> list[Score]:
    """Score 1 for an answer that ended by itself, 0 for one cut off by the token limit."""
    return [_score(row, not row.truncated) for row in answers]


def measure_distinct(answers: Sequence[Sequence[str]], width: int) -> float | None:
    """Return distinct-n: different runs of n words over all runs, across all answers.

    Runs do not cross from one answer into the next. ``None`` if no answer has n words. The more
    words there are, the lower it falls, whatever the model (Li et al. 2016, arXiv 1510.03055).
    """
    seen: set[tuple[str, ...]] = set()
    total = 0
    for words in answers:
        runs = list(zip(*(words[start:] for start in range(width)), strict=False))
        seen.update(runs)
        total += len(runs)
    return len(seen) / total if total else None


def measure_openings(answers: Sequence[Sequence[str]], words: int = OPENING_WORDS) -> Openings:
    """Measure how alike answers begin, by their first words; a shorter one is its own opening."""
    counts = Counter(" ".join(answer[:words]) for answer in answers if answer)
    total = counts.total()
    if not total:
        return Openings(0, 0, "", None, None)
    commonest, top = min(counts.items(), key=lambda item: (-item[1], item[0]))
    entropy = None
    if total > 1:
        logs = math.fsum(count * math.log(count) for count in counts.values())
        entropy = 1.0 - logs / (total * math.log(total))
    return Openings(total, len(counts), commonest, top / total, entropy)


def measure_self_similarity(
    answers: Sequence[Sequence[str]],
    characters: Sequence[str],
    *,
    seed: int,
    most_pairs: int = MOST_PAIRS,
) -> SelfSimilarity:
    """Measure the mean similarity of answers of different characters.

    ``answers`` are lists of words; those without a word are left out. All pairs are measured if
    there are no more than ``most_pairs``, else as many drawn with the seed, each uniformly among
    all pairs of different characters and independently of the others.
    """
    told = [(name, tuple(words)) for name, words in zip(characters, answers, strict=True) if words]
    rows = sorted(told)
    shingles = [make_shingles(words, _SHINGLE_WORDS) for _, words in rows]
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, (name, _) in enumerate(rows):
        groups[name].append(place)
    sizes = [len(group) for group in groups.values()]
    total = (len(rows) ** 2 - sum(size**2 for size in sizes)) // 2
    if total == 0:
        return SelfSimilarity(None, 0, exhaustive=True)
    names = [name for name, _ in rows]
    if total <= most_pairs:
        pairs = [
            (one, two)
            for one in range(len(rows))
            for two in range(one + 1, len(rows))
            if names[one] != names[two]
        ]
    else:
        pairs = _draw_pairs(names, most_pairs, seed)
    mean = math.fsum(measure_jaccard(shingles[a], shingles[b]) for a, b in pairs) / len(pairs)
    return SelfSimilarity(mean, len(pairs), exhaustive=total <= most_pairs)


def _draw_pairs(names: Sequence[str], count: int, seed: int) -> list[tuple[int, int]]:
    """Draw pairs of rows of different characters; ``names`` are sorted.

    The first row is drawn by how many rows it can be paired with, the second among these, so that
    no pair is drawn again and again until it fits.
    """
    dice = np.random.default_rng(seed)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    labels = np.array([numbers[name] for name in names])
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    others = len(names) - sizes[labels]
    first = dice.choice(len(names), size=count, p=others / others.sum())
    step = (dice.random(count) * others[first]).astype(np.int64)
    group = labels[first]
    second = step + np.where(step >= starts[group], sizes[group], 0)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _score(answer: Answer, happened: bool) -> Score:
    return Score(answer.question_key, answer.persona_key, answer.task, float(happened))
