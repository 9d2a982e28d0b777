"""Attribution: share of held-out answers that are likeliest under their own character's profile."""

from __future__ import annotations

from tasks.measures.measure import TrialMeasure

MEASURES = [
    TrialMeasure(
        name="attribution",
        place=20,
        label="attribution, random candidates",
        group="main",
        kind="share",
        digits=1,
        unit="percentage points",
        headline=True,
        value=lambda row: row.random_credit,
        others=lambda row: row.random_keys,
        chance=lambda row: row.random_chance,
    ),
    TrialMeasure(
        name="attribution_hard",
        place=21,
        label="attribution, alike candidates",
        group="main",
        kind="share",
        digits=1,
        unit="percentage points",
        value=lambda row: row.hard_credit,
        others=lambda row: row.hard_keys,
        chance=lambda row: row.hard_chance,
    ),
]
