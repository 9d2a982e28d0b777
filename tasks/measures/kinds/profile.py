"""What the profile adds to the likelihood of a held-out answer, in nats a token."""

from __future__ import annotations

from tasks.measures.measure import TrialMeasure

MEASURES = [
    TrialMeasure(
        name="profile_gain",
        place=30,
        label="gain from the profile",
        group="main",
        digits=3,
        unit="nats a token",
        headline=True,
        value=lambda row: row.gain,
    ),
    TrialMeasure(
        name="profile_margin",
        place=31,
        label="margin over other profiles",
        group="main",
        digits=3,
        unit="nats a token",
        value=lambda row: row.margin,
        others=lambda row: row.random_keys,
    ),
]
