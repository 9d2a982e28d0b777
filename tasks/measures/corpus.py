"""Holds the words of all answers of a model as numbers, for measures of what comes again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

_MOST = 1 << 63

Numbers = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


class Corpus:
    """Words of the answers of a model, told apart once for all measures.

    Attributes:
        answers: The words of each, folded, a blank between two; empty where nothing was said.
        personas: Whose answer each is.
    """

    def __init__(self, answers: Sequence[str], personas: Sequence[str]) -> None:
        self.answers, self.personas = answers, personas

    def number_runs(self, width: int) -> tuple[Numbers, Places]:
        """Return a number for each run of so many words, and the place of the answer it is in.

        Equal runs, and no others, have one number. In the order of answers and words; no run
        crosses from one answer into the next.
        """
        words, places = self._words
        numbers: Numbers = words
        base = int(words.max(initial=0)) + 1
        size = base
        for step in range(1, width):
            if size * base > _MOST:
                found, inverse = np.unique(numbers, return_inverse=True)
                numbers, size = inverse.astype(np.uint64), len(found)
            numbers = numbers[:-1] * np.uint64(base) + words[step:]
            size *= base
        inside = places[: len(numbers)] == places[width - 1 :]
        return numbers[inside], places[: len(numbers)][inside]

    @cached_property
    def _words(self) -> tuple[Numbers, Places]:
        """Return the number of each word, and the place of the answer it is in."""
        said = pl.DataFrame({"words": pl.Series(self.answers, dtype=pl.String)})
        said = said.with_row_index("place").filter(pl.col("words") != "")
        flat = said.with_columns(pl.col("words").str.split(" ")).explode("words")
        numbers = flat["words"].cast(pl.Categorical).to_physical()
        return numbers.cast(pl.UInt64).to_numpy(), flat["place"].cast(pl.Int64).to_numpy()
