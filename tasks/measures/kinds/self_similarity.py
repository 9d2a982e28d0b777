"""Self-similarity: how much the answers of different characters share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from infra.text.wording import measure_jaccard
from tasks.measures.corpus import Corpus
from tasks.measures.measure import CorpusMeasure

MOST_PAIRS = 20_000

_SHINGLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class SelfSimilarity:
    """How much answers of different characters share: mean Jaccard of word trigrams.

    ``mean`` is over ``pairs`` pairs, ``None`` without any; ``exhaustive`` if these are all.
    """

    mean: float | None
    pairs: int
    exhaustive: bool


def measure_self_similarity(
    corpus: Corpus, *, seed: int, most_pairs: int = MOST_PAIRS
) -> SelfSimilarity:
    """Measure the mean similarity of answers of different characters.

    Answers without a word are left out. All pairs are measured if there are no more than
    ``most_pairs``, else as many drawn with the seed, each uniformly among all pairs of different
    characters and independently of the others.
    """
    # A blank comes before all letters: answers are in the order of their words.
    told = zip(corpus.personas, corpus.answers, range(len(corpus.answers)), strict=True)
    rows = sorted(row for row in told if row[1])
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, (name, _, _) in enumerate(rows):
        groups[name].append(place)
    sizes = [len(group) for group in groups.values()]
    total = (len(rows) ** 2 - sum(size**2 for size in sizes)) // 2
    if total == 0:
        return SelfSimilarity(None, 0, exhaustive=True)
    names = [name for name, _, _ in rows]
    if total <= most_pairs:
        pairs = [
            (one, two)
            for one in range(len(rows))
            for two in range(one + 1, len(rows))
            if names[one] != names[two]
        ]
    else:
        pairs = _draw_pairs(names, most_pairs, seed)
    drawn = sorted({place for pair in pairs for place in pair})
    found = _make_shingles(corpus, [rows[place][2] for place in drawn])
    shingles = dict(zip(drawn, found, strict=True))
    mean = math.fsum(measure_jaccard(shingles[a], shingles[b]) for a, b in pairs) / len(pairs)
    return SelfSimilarity(mean, len(pairs), exhaustive=total <= most_pairs)


def _make_shingles(corpus: Corpus, places: Iterable[int]) -> Iterator[Set[object]]:
    """Yield the shingles of some answers; a shorter one is its own shingle."""
    runs, owners = corpus.number_runs(_SHINGLE_WORDS)
    starts = np.searchsorted(owners, np.arange(len(corpus.answers) + 1)).tolist()
    for place in places:
        own = set(runs[starts[place] : starts[place + 1]].tolist())
        yield own or {corpus.answers[place]}


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


def _measure(corpus: Corpus, seed: int) -> float | None:
    return measure_self_similarity(corpus, seed=seed).mean


MEASURES = [
    CorpusMeasure(
        name="self_similarity",
        place=70,
        label="self-similarity",
        group="style",
        digits=3,
        measure=_measure,
    )
]
