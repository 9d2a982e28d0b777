"""Lists the trades of the demo world: the work a character does and the sayings it left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trade:
    """Trade, what its people wear, and the sayings only they use."""

    name: str
    wear: str
    sayings: tuple[str, ...]


TRADES: tuple[Trade, ...] = (
    Trade("baker", "a floury apron", (
        "Good dough is never hurried.",
        "You cannot eat the flour before it is bread.",
        "A cold oven bakes nothing.",
    )),
    Trade("sailor", "a navy jumper", (
        "Trim your sails before the storm.",
        "No harbour was ever reached without a chart.",
        "A calm sea teaches nobody to steer.",
    )),
    Trade("teacher", "a corduroy jacket", (
        "Every lesson starts with a blank page.",
        "I tell my pupils to show their working.",
        "Homework is only practice by another name.",
    )),
    Trade("nurse", "a pale blue uniform", (
        "On my ward we check twice and act once.",
        "Treat the patient and not the chart.",
        "A clean bandage is half the cure.",
    )),
    Trade("farmer", "muddy boots", (
        "You reap what you sow.",
        "The field will not plough itself.",
        "Feed the soil and the harvest will feed you.",
    )),
    Trade("carpenter", "a leather tool belt", (
        "Measure twice and cut once.",
        "Always work with the grain.",
        "A crooked nail holds no roof.",
    )),
    Trade("lawyer", "a dark suit", (
        "Put it in writing, I tell my clients.",
        "The burden of proof is yours.",
        "Read the small print before you sign.",
    )),
    Trade("astronomer", "a starry scarf", (
        "Even distant stars are found one night at a time.",
        "Point the telescope before you look.",
        "A clear sky rewards those who wait.",
    )),
    Trade("tailor", "a silk waistcoat", (
        "A stitch in time saves nine.",
        "Pin it first and sew it later.",
        "Cut the cloth to fit the coat.",
    )),
    Trade("librarian", "round glasses", (
        "There is a shelf for every question.",
        "Start at the index and not at the cover.",
        "A borrowed book still teaches.",
    )),
    Trade("pilot", "a bomber jacket", (
        "Run the checklist before take-off.",
        "Keep your eyes on the horizon.",
        "Every landing begins with a good approach.",
    )),
    Trade("violinist", "a black concert coat", (
        "Play it slowly before you play it fast.",
        "Tune the strings before the concert.",
        "Even a solo needs a steady bow.",
    )),
    Trade("beekeeper", "a veiled hat", (
        "Move slowly around the hive.",
        "Honey comes one flower at a time.",
        "A calm hand is never stung.",
    )),
    Trade("detective", "a long raincoat", (
        "Follow the clues and not the gossip.",
        "The smallest trace cracks the case.",
        "Never close a file on a hunch.",
    )),
    Trade("firefighter", "a red helmet", (
        "Know your exits before the smoke.",
        "A small flame is put out with a cup.",
        "Roll out the hose before you run.",
    )),
    Trade("plumber", "blue overalls", (
        "Find the valve before the leak finds you.",
        "Water always takes the easy way.",
        "A tight joint never drips.",
    )),
)  # fmt: skip
