"""Chooses which characters answer which question, so that the choice survives growth.

Rendezvous hashing: a question is answered by the n characters whose personas have the smallest
hash(seed, question, persona). Uniform without replacement, as in the paper (section 3.2), and one
more character displaces only the pairs where it now belongs; a question never moves another's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from infra.store.fingerprints import hash_parts

_U64 = np.uint64
_EXPECTED = 8
_BLOCK = 1_000


def choose_characters(
    questions: Sequence[str], personas: Sequence[str], n: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the chosen personas' positions, shape (questions, n), smallest hash first.

    Both are row keys in hex; raises :class:`ValueError` when there are fewer than n personas.
    """
    if len(personas) < n:
        raise ValueError(f"{n} characters a question, but only {len(personas)} characters")
    salted = _mix(_as_words(personas) ^ _U64(int(hash_parts("pairing", str(seed))[:16], 16)))
    asked = _as_words(questions)
    share = min(1.0, _EXPECTED * n / len(personas))
    limit = _U64(min(int(share * 2**64), 2**64 - 1))
    chosen = np.empty((len(questions), n), dtype=np.int64)

    def choose(block: range) -> None:
        for index in block:
            scores = _mix(salted + asked[index])
            near = np.flatnonzero(scores <= limit)
            if near.size < n:
                near = np.arange(scores.size)
            order = np.argsort(scores[near], kind="stable")[:n]
            chosen[index] = near[order]

    # Each question is a pass over all personas, in NumPy, which lets other threads compute too.
    starts = range(0, len(questions), _BLOCK)
    blocks = [range(first, min(first + _BLOCK, len(questions))) for first in starts]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(choose, blocks))
    return chosen


def _as_words(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([int(key[:16], 16) for key in keys], dtype=_U64)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit words (the finaliser of splitmix64, a published constant set)."""
    words = (words ^ (words >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> _U64(27))) * _U64(0x94D049BB133111EB)
    return words ^ (words >> _U64(31))
