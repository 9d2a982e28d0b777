"""Tells what each text of a batch may be guilty of, so that only that is looked for in it.

Faults are rare, and to look for each in one text after another takes long. Here all texts are
searched at once for the signs that a fault cannot do without; :data:`SIGNS` of each kind stand
where the fault is defined. A text without them is innocent; the others, and texts that are not
plain, are for the functions for one text to judge: verdicts are theirs, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.text import (
    broken_text,
    chat_marks,
    placeholders,
    prose,
    stage_directions,
    user_turns,
)  # fmt: skip
from infra.text.batches.plain import count_words, fold_words, is_plain
from infra.text.batches.repetition import may_loop
from infra.text.loops import find_loop
from infra.text.refusals import ADMISSION_SIGNS, HEAD_CHARS, REFUSAL_SIGNS
from infra.text.speech import SpeechFault

_SIGNS: dict[SpeechFault, str] = {
    "control_tokens": chat_marks.SIGNS,
    "plays_user": user_turns.SIGNS,
    "stage_direction": stage_directions.SIGNS,
    "placeholder": placeholders.SIGNS,
    "broken_text": broken_text.SIGNS,
}
_MARKS = "[!-/:-@\\[-`{-~]"
_MOST_MARKS = 1.5
"""Marks for each word, which has a letter at least, that no text is called broken for."""

_BLOCK_TEXTS = 4_000
"""Texts whose words are in memory at once."""

_Flags = npt.NDArray[np.bool_]


class TextBatch:
    """Some texts, which can be encoded, and what can be told of all of them at once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = pl.Series("text", texts, dtype=pl.String)

    @cached_property
    def folded(self) -> pl.Series:
        """Return the words of each text, a blank between two."""
        return fold_words(self._texts)

    @cached_property
    def words(self) -> pl.Series:
        """Return how many words each text has."""
        return count_words(self.folded)

    @cached_property
    def suspected(self) -> dict[SpeechFault, _Flags]:
        """Return by fault of speech which texts may have it."""
        signs = {fault: self.search(pattern) for fault, pattern in _SIGNS.items()}
        odd = ~self._plain | ~self.all_prose
        few = self._texts.str.contains("_", literal=True) | (
            self._texts.str.count_matches(_MARKS) > self.words * _MOST_MARKS
        )
        signs["broken_text"] |= odd | few.to_numpy()
        signs["repetition"] = self._may_loop
        return signs

    @cached_property
    def may_refuse(self) -> _Flags:
        """Return which texts may refuse to help."""
        head = self._texts.str.head(HEAD_CHARS)
        found = head.str.contains_any(list(REFUSAL_SIGNS), ascii_case_insensitive=True)
        return found.to_numpy() | ~self._plain

    @cached_property
    def may_admit(self) -> _Flags:
        """Return which texts may admit to be a model's."""
        padded = " " + self._texts
        found = padded.str.contains_any(list(ADMISSION_SIGNS), ascii_case_insensitive=True)
        return found.to_numpy() | ~self._plain

    def find_loops(self) -> list[bool]:
        """Tell of each text whether :func:`find_loop` finds anything."""
        rows = zip(self._may_loop.tolist(), self._texts, strict=True)
        return [may and find_loop(text) is not None for may, text in rows]

    @cached_property
    def _plain(self) -> _Flags:
        frame = self._texts.to_frame().select(is_plain(pl.col("text")))
        return frame.to_series().to_numpy()

    @cached_property
    def all_prose(self) -> _Flags:
        """Return which plain texts are prose to the last letter."""
        return ~self.search(prose.SIGNS)

    @cached_property
    def _may_loop(self) -> _Flags:
        judged = np.flatnonzero(self._plain & self.all_prose)
        found = np.ones(len(self._texts), dtype=bool)
        for first in range(0, len(judged), _BLOCK_TEXTS):
            block = judged[first : first + _BLOCK_TEXTS]
            found[block] = may_loop(self._texts.gather(block))
        return found

    def search(self, pattern: str) -> _Flags:
        """Return which texts a pattern is found in, or are not plain and may have it."""
        return self._texts.str.contains(pattern).to_numpy() | ~self._plain

    def find_all(self, pattern: str) -> pl.Series:
        """Return all that a pattern finds in each text; of those that are not plain, null."""
        found = self._texts.str.extract_all(pattern)
        return pl.select(pl.when(pl.Series(self._plain)).then(found)).to_series()
