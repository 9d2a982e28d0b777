"""PersonaScore: PersonaGym's mean of task means, by persona, on the scale of 1 to 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.measures.measure import JudgedMeasure
from tasks.measures.statistics import (
    Difference,
    Estimate,
    Score,
    compare_persona_scores,
    score_personas,
)


@dataclass(frozen=True, kw_only=True)
class PersonaScoreMeasure(JudgedMeasure):
    """PersonaScore; its rows are personas."""

    def estimate(self, scores: Sequence[Score]) -> Estimate:
        """Estimate it over personas; ``missing`` counts verdicts."""
        found = score_personas(scores)
        return replace(found.over_personas, missing=found.missing)

    def compare(self, ours: Sequence[Score], theirs: Sequence[Score]) -> Difference:
        """Compare it over the questions that both models were scored on."""
        return compare_persona_scores(ours, theirs, step=self.step)


MEASURES = [
    PersonaScoreMeasure(
        name="persona_score",
        place=0,
        label="PersonaScore",
        group="main",
        unit="points",
        headline=True,
    )
]
