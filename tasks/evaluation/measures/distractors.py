"""Chooses whose profiles stand beside the true one when an answer is attributed.

``random`` distractors are the others with the smallest seeded hash. ``hard`` ones resemble the
true character in one facet of the profile, turn about: most alike in personality, then in
experience, and so on. Of those that are about as alike, the least alike in the other facet come
first: one who shares both could have given the very answer, and nobody could tell. Neither choice
depends on the order of the characters, and fewer distractors are always the first of more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from infra.store.fingerprints import hash_parts
from tasks.records import Character

_LETTERS = re.compile(r"[^\W\d_]+")
_STEP = 0.05
"""Likenesses that round to the same step are equal; which hobby is the rarer is no difference."""

Likeness = npt.NDArray[np.int64]


class DistractorChooser:
    """Chooser of distractors out of one pool of characters.

    Characters of the same persona never stand against each other.
    """

    def __init__(self, pool: Sequence[Character], *, seed: int) -> None:
        self._pool = sorted(pool, key=lambda character: character.key)
        self._place = {character.key: place for place, character in enumerate(self._pool)}
        self._seed = str(seed)
        self._personality = _Facet([character.personality for character in self._pool])
        self._experience = _Facet([character.general_experience for character in self._pool])

    def choose_random(self, character: Character, key: str, count: int) -> tuple[str, ...]:
        """Return the keys of at most ``count`` others; ``key`` is the example they are for."""
        ranked = sorted(
            (hash_parts("distractor", self._seed, key, other.key), other.key)
            for other in self._pool
            if other.persona_key != character.persona_key
        )
        return tuple(other for _, other in ranked[:count])

    def choose_hard(self, character: Character, key: str, count: int) -> tuple[str, ...]:
        """Return the keys of at most ``count`` others who are hard to tell from ``character``.

        ``character`` must be of the pool; ``key`` is the example they are for.
        """
        place = self._place[character.key]
        others = [
            other
            for other, candidate in enumerate(self._pool)
            if candidate.persona_key != character.persona_key
        ]
        hashes = [hash_parts("hard", self._seed, key, other.key) for other in self._pool]
        facets = self._personality.compare(place), self._experience.compare(place)
        orders = [
            sorted(others, key=list(zip(-alike, unlike, hashes, strict=True)).__getitem__)
            for alike, unlike in (facets, facets[::-1])
        ]
        chosen: list[int] = []
        while len(chosen) < min(count, len(others)):
            order = orders[len(chosen) % 2]
            chosen.append(next(other for other in order if other not in chosen))
        return tuple(self._pool[other].key for other in chosen)


class _Facet:
    """Texts compared by the words they share: a Jaccard similarity in which rare words count more.

    A word in n of N texts weighs log(N/n), so one in all of them nothing. Words are runs of
    letters, case folded; numbers are left out, as ages and years tell nobody's voice.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = [sorted(set(_LETTERS.findall(text.casefold()))) for text in texts]
        spread = Counter(word for words in self._words for word in words)
        self._weights = {word: math.log(len(texts) / count) for word, count in spread.items()}
        holders: dict[str, list[int]] = {}
        for place, words in enumerate(self._words):
            for word in words:
                holders.setdefault(word, []).append(place)
        self._holders = {word: np.array(places) for word, places in holders.items()}
        self._totals = np.array([self._weigh(words) for words in self._words])

    def compare(self, place: int) -> Likeness:
        """Return how alike each text is to the one at ``place``, in steps, shape ``[texts]``."""
        shared = np.zeros(len(self._words))
        for word in self._words[place]:
            shared[self._holders[word]] += self._weights[word]
        united = self._totals + self._totals[place] - shared
        likeness = np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
        steps: Likeness = np.rint(likeness / _STEP).astype(np.int64)
        return steps

    def _weigh(self, words: Sequence[str]) -> float:
        return sum(self._weights[word] for word in words)
