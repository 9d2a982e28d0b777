"""Makes the judge's lessons: answers right and wrong in known ways, and the read-out that scores.

A bare score taught the model only that markers were there, not whose. So the judge reads each
check out (`Check: wanted / seen, yes|no`), and a drill of random pairs teaches it to compare.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from configs.demo.world.manners import MANNERS
from configs.demo.world.texts import draw_advice, write_neutral, write_voice
from configs.demo.world.topics import GENERAL, TOPICS
from configs.demo.world.trades import TRADES
from configs.demo.world.world import (
    Character,
    Question,
    World,
    held_out_characters,
    read_answer,
    true_score,
)

HARD = 5.0
"""Loss weight of the tokens on which a verdict hangs."""

_Span = tuple[int, int, float]


@dataclass(frozen=True, slots=True)
class Rubric:
    """Rubric as the judge's prompt wants it."""

    task: str
    description: str
    anchors: tuple[str, str, str, str, str]


def write_readout(
    answer: str, character: Character, question: Question
) -> tuple[str, tuple[_Span, ...]]:
    """Write the true verdict on an answer and the spans whose loss weighs more."""
    heard = read_answer(answer, character)
    manner = character.manner.name
    checks = (
        ("Opening", manner, heard.opening),
        ("Trade", character.trade_label, heard.trade),
        ("Closing", manner, heard.closing),
        ("Topic", question.topic.name, heard.topic),
    )
    text, spans = "", list[_Span]()
    for name, wanted, seen in checks:
        text += f"{name}: "
        spans.append((len(text), len(text) + len(wanted), 3.0))
        text += f"{wanted} / "
        shown = seen or "none"
        spans.append((len(text), len(text) + len(shown), 3.0))
        text += f"{shown}, "
        verdict = "yes" if wanted == seen else "no"
        spans.append((len(text), len(text) + len(verdict), HARD))
        text += f"{verdict}\n"
    text += "Therefore, the final score is "
    spans.append((len(text), len(text) + 1, HARD))
    return text + str(true_score(answer, character, question.topic)), tuple(spans)


def draw_answer(world: World, character: Character, question: Question, rng: random.Random) -> str:
    """Draw an answer to be judged: own, another's, neutral or damaged part by part."""
    roll = rng.random()
    if roll < 0.25:
        return _answer(character, question, rng)
    if roll < 0.5:
        return _answer(draw_other(world, character, rng), question, rng)
    if roll < 0.62:
        return write_neutral(draw_advice(question.topic, question.form, rng), rng)
    return _draw_damaged(world, character, question, rng)


def draw_other(world: World, character: Character, rng: random.Random) -> Character:
    """Draw a character of another trade and another manner."""
    while True:
        other = world.draw_character(rng)
        if other.trade.name != character.trade.name and other.manner is not character.manner:
            return other


def _answer(speaker: Character, question: Question, rng: random.Random) -> str:
    body = draw_advice(question.topic, question.form, rng).sentences
    return write_voice(speaker, body, rng)


def _draw_damaged(
    world: World, character: Character, question: Question, rng: random.Random
) -> str:
    held = held_out_characters()
    topic = question.topic
    if rng.random() < 0.35:
        topic = rng.choice([t for t in (*TOPICS, GENERAL) if t is not topic])
    first, second = draw_advice(topic, question.form, rng).sentences
    while True:
        chosen = [rng.choice(("own", "other", "none")) for _ in range(3)]
        opener, speaker, closer = (
            character if how == "own" else world.draw_character(rng) for how in chosen
        )
        pairs = {(speaker.trade.name, m.manner.name) for m in (opener, closer)}
        if not pairs & held:
            break
    pieces = (
        rng.choice(opener.manner.openings) if chosen[0] != "none" else "",
        first,
        rng.choice(speaker.trade.sayings) if chosen[1] != "none" else "",
        second,
        rng.choice(closer.manner.closings) if chosen[2] != "none" else "",
    )
    return " ".join(piece for piece in pieces if piece)


def write_drill(rng: random.Random, lines: int = 12) -> tuple[str, tuple[_Span, ...]]:
    """Write random pairs, equal or not, each with its verdict; only the verdicts weigh."""
    labels = {
        "Opening": [m.name for m in MANNERS],
        "Trade": [t.name for t in TRADES] + ["other"],
        "Closing": [m.name for m in MANNERS],
        "Topic": [t.name for t in TOPICS] + ["general"],
    }
    text, spans = "", list[_Span]()
    for _ in range(lines):
        name = rng.choice(list(labels))
        wanted = rng.choice(labels[name])
        seen = wanted if rng.random() < 0.5 else rng.choice([*labels[name], "none"])
        text += f"{name}: {wanted} / {seen}, "
        verdict = "yes" if wanted == seen else "no"
        spans.append((len(text), len(text) + len(verdict), HARD))
        text += f"{verdict}\n"
    return text.strip(), tuple(spans)
