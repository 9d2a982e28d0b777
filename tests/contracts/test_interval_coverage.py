"""Holds intervals of differences to what they promise: 95 % of them cover the truth."""

from __future__ import annotations

import random

import pytest

from tasks.measures.statistics import Score, compare_rows

ROWS = 5
DRAWS = 1_500


def draw(dice: random.Random, personas: int) -> tuple[list[Score], list[Score]]:
    """Draw two equally good models: rows of one persona hang together."""
    ours, theirs = [], []
    for persona in range(personas):
        leaning = dice.gauss(0, 0.5)
        for row in range(ROWS):
            unit = f"{persona}-{row}"
            ours.append(Score(unit, str(persona), "", leaning + dice.gauss(0, 1)))
            theirs.append(Score(unit, str(persona), "", dice.gauss(0, 1)))
    return ours, theirs


@pytest.mark.parametrize("personas", [4, 6, 10, 20, 60])
def test_nineteen_intervals_in_twenty_cover_the_truth(personas: int) -> None:
    dice = random.Random(personas)
    draws = DRAWS if personas < 60 else DRAWS // 2
    covered = small = 0
    for _ in range(draws):
        found = compare_rows(*draw(dice, personas))
        assert found.low is not None and found.high is not None and found.p_value is not None
        covered += found.low <= 0 <= found.high
        small += found.p_value < 0.05
    assert 0.93 <= covered / draws <= 0.97
    assert small == draws - covered
