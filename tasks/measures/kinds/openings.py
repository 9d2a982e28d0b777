"""How alike answers begin: the share of the commonest opening, and how far openings spread."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from tasks.measures.corpus import Corpus
from tasks.measures.measure import CorpusMeasure

OPENING_WORDS = 3


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


def measure_openings(corpus: Corpus, words: int = OPENING_WORDS) -> Openings:
    """Measure how alike answers begin, by their first words; a shorter one is its own opening."""
    said = filter(None, corpus.answers)
    counts = Counter(" ".join(answer.split(" ", words)[:words]) for answer in said)
    total = counts.total()
    if not total:
        return Openings(0, 0, "", None, None)
    commonest, top = min(counts.items(), key=lambda item: (-item[1], item[0]))
    entropy = None
    if total > 1:
        logs = math.fsum(count * math.log(count) for count in counts.values())
        entropy = 1.0 - logs / (total * math.log(total))
    return Openings(total, len(counts), commonest, top / total, entropy)


MEASURES = [
    CorpusMeasure(
        name="opening_share",
        place=60,
        label="commonest opening",
        group="style",
        kind="share",
        digits=1,
        unit="percentage points",
        measure=lambda corpus, _: measure_openings(corpus).top_share,
    ),
    CorpusMeasure(
        name="opening_entropy",
        place=61,
        label="spread of openings",
        group="style",
        digits=3,
        measure=lambda corpus, _: measure_openings(corpus).entropy,
    ),
]
