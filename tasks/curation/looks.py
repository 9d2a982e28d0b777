"""Looks at the answers of many dialogues at once: their words, and what each may be guilty of.

Most answers have no fault, and that is cheaper to see of thousands together than of one. What a
look suspects is for the filters to judge, as if nobody had looked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from infra.text.batches.screening import TextBatch
from infra.text.speech import SPEECH_FAULTS, SpeechFault
from tasks.curation import echoes
from tasks.curation.names import Roster, may_bear_other_name

Suspicion = Literal[SpeechFault, "refusal", "ai_admission", "prompt", "name"]


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of an answer among others.

    Attributes:
        words: Its words, a blank between two.
        suspected: What may be found in it; nothing else is.
    """

    words: str
    suspected: frozenset[Suspicion]


def look_at(answers: Sequence[str], roster: Roster) -> list[Look]:
    """Look at answers, which may be few or thousands."""
    batch = TextBatch(answers)
    flags: dict[Suspicion, npt.NDArray[np.bool_]] = {
        **{fault: batch.suspected[fault] for fault in SPEECH_FAULTS},
        "refusal": batch.may_refuse,
        "ai_admission": batch.may_admit,
        "prompt": batch.search(echoes.SIGNS),
        "name": may_bear_other_name(batch, roster),
    }
    # A number for each set of suspicions: most answers share one.
    numbers = np.zeros(len(answers), dtype=np.int64)
    for place, found in enumerate(flags.values()):
        numbers |= found.astype(np.int64) << place
    sets = {
        number: frozenset(name for place, name in enumerate(flags) if number >> place & 1)
        for number in np.unique(numbers).tolist()
    }
    rows = zip(batch.folded, numbers.tolist(), strict=True)
    return [Look(words, sets[number]) for words, number in rows]
