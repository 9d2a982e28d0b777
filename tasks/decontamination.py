"""Keeps evaluation questions out of training: finds user turns that hold or nearly equal one.

Three tests, each exact and each one pass over hashed words: 100,000 distinct turns against 10,000
questions take half a minute.

* a run of N words shared with a question (N = 13, as in the GPT-3 report, appendix C);
* a shorter question contained whole;
* word sets whose Jaccard similarity reaches a threshold. Two such sets must share one of the
  rarest words of the question (prefix filtering, Chaudhuri et al. 2006), so only those are indexed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from infra.text.wording import split_words

RUN_WORDS = 13
MIN_WORDS = 6
SIMILARITY = 0.85
"""What is asked of a hit unless a configuration says otherwise."""

_OPENING = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """Evaluation question that a user turn gives away, and how it was noticed.

    ``run`` tells whether they share a run of words, the first of the tests.
    """

    question: str
    how: str
    run: bool


class QuestionIndex:
    """Set of evaluation questions, indexed for the three tests."""

    def __init__(
        self,
        questions: Iterable[str],
        *,
        run: int = RUN_WORDS,
        min_words: int = MIN_WORDS,
        similarity: float = SIMILARITY,
    ) -> None:
        self._questions = sorted({text for text in questions if split_words(text)})
        self._run, self._similarity = run, similarity
        words = [split_words(question) for question in self._questions]
        self._runs: dict[tuple[str, ...], int] = {}
        self._openings: defaultdict[tuple[str, ...], list[tuple[tuple[str, ...], int]]]
        self._openings = defaultdict(list)
        for number, parts in enumerate(words):
            if len(parts) >= run:
                for start in range(len(parts) - run + 1):
                    self._runs.setdefault(tuple(parts[start : start + run]), number)
            elif len(parts) >= max(min_words, _OPENING):
                self._openings[tuple(parts[:_OPENING])].append((tuple(parts), number))
        self._sets = [frozenset(parts) for parts in words]
        self._rare = _index_rare_words(self._sets, similarity)

    def __len__(self) -> int:
        """Return how many questions there are."""
        return len(self._questions)

    def find_hit(self, text: str) -> Hit | None:
        """Return the question that a user turn gives away, or ``None``."""
        words = tuple(split_words(text))
        for test, how, run in (
            (self._find_shared_run, f"shares {self._run} words in a row", True),
            (self._find_contained, "contains it", False),
            (self._find_similar, "nearly equals it", False),
        ):
            number = test(words)
            if number is not None:
                return Hit(self._questions[number], how, run)
        return None

    def _find_shared_run(self, words: tuple[str, ...]) -> int | None:
        for start in range(len(words)):
            number = self._runs.get(words[start : start + self._run])
            if number is not None:
                return number
        return None

    def _find_contained(self, words: tuple[str, ...]) -> int | None:
        for start in range(len(words)):
            for parts, number in self._openings.get(words[start : start + _OPENING], ()):
                if words[start : start + len(parts)] == parts:
                    return number
        return None

    def _find_similar(self, words: tuple[str, ...]) -> int | None:
        mine = frozenset(words)
        candidates = {number for word in mine for number in self._rare.get(word, ())}
        for number in sorted(candidates):
            other = self._sets[number]
            shared = len(mine & other)
            if shared >= self._similarity * (len(mine) + len(other) - shared):
                return number
        return None


def find_hits(texts: Sequence[str], index: QuestionIndex) -> dict[str, Hit]:
    """Return the hits among some texts, each distinct text looked at once."""
    hits = ((text, index.find_hit(text)) for text in set(texts))
    return {text: hit for text, hit in hits if hit is not None}


def _index_rare_words(
    sets: Sequence[frozenset[str]], similarity: float
) -> dict[str, tuple[int, ...]]:
    """Map words to the questions whose rarest words they are among.

    A set that reaches the similarity shares at least ``ceil(similarity * size)`` words with the
    question, so it cannot miss all of the ``size - ceil(similarity * size) + 1`` rarest.
    """
    frequency = Counter(word for words in sets for word in words)
    rare: defaultdict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(sets):
        prefix = len(words) - ceil(similarity * len(words) - 1e-9) + 1
        for word in sorted(words, key=lambda word: (frequency[word], word))[:prefix]:
            rare[word].append(number)
    return {word: tuple(numbers) for word, numbers in rare.items()}
