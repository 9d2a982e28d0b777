"""Writes the demo's labelled answers, by which its judge is measured in every run.

People and questions come from judge lessons of the held-out world, so persona, profile and
question have exactly the form the teacher was taught to judge. The answers are made here, because
lessons never let a held-out character speak: some with a known share of the four checks, some in
the character's full voice, shown once beside itself and once beside somebody else.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from configs.demo.world.lessons import Lesson, Noise, School
from configs.demo.world.manners import MANNERS
from configs.demo.world.measures import HeldOutWorld
from configs.demo.world.texts import (
    draw_advice,
    write_neutral,
    write_persona,
    write_profile,
    write_voice,
)
from configs.demo.world.topics import GENERAL, TOPICS
from configs.demo.world.trades import TRADES
from configs.demo.world.verdicts import draw_other
from configs.demo.world.world import Character, Question, true_score

T = TypeVar("T")

FILE_NAME = "calibration.jsonl"

_SCORES = (1, 2, 3, 4, 5)
_EACH_SCORE = 24
_PAIRS = 60
_CHECKS = ("opening", "trade", "closing", "topic")
_NEUTRAL_SHARE = 0.5
"""How many answers without any voice are plain ones, as an untuned student gives them."""

Row = dict[str, str | int | bool]


def write_calibration(folder: Path, seed: int = 11) -> None:
    """Write calibration.jsonl: 24 answers of each true score, 60 in voice, 60 out of voice."""
    rows = list(make_rows(seed))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    target = folder / FILE_NAME
    temporary = target.with_name(f".{FILE_NAME}.tmp")
    temporary.write_text(lines, encoding="utf-8")
    temporary.replace(target)


def make_rows(seed: int) -> Iterator[Row]:
    """Make the rows, no two alike in what the judge sees."""
    rng = random.Random(seed)
    school = School(seed, Noise(strangers=0.0, requests=0.0, rewordings=0.0))
    school.world = HeldOutWorld()
    shown: set[tuple[object, ...]] = set()
    wanted: list[int | None] = [score for score in _SCORES for _ in range(_EACH_SCORE)]
    wanted += [None] * _PAIRS
    for score in wanted:
        made: list[Row] = []
        while not made or shown & {_identify(row) for row in made}:
            lesson = school.draw_lesson("judge")
            if score is None:
                made = _make_pair(school, lesson, rng)
            else:
                answer = draw_scored(lesson.characters[0], lesson.questions[0], score, rng)
                made = [_label(lesson, lesson.characters[0], answer)]
        shown |= {_identify(row) for row in made}
        yield from made


def draw_scored(character: Character, question: Question, score: int, rng: random.Random) -> str:
    """Draw an answer of which exactly ``score`` - 1 checks hold; which ones is drawn too."""
    held = rng.choice(list(combinations(_CHECKS, score - 1)))
    others = [topic for topic in (*TOPICS, GENERAL) if topic is not question.topic]
    topic = question.topic if "topic" in held else rng.choice(others)
    advice = draw_advice(topic, question.form, rng)
    if not set(held) - {"topic"} and rng.random() < _NEUTRAL_SHARE:
        return write_neutral(advice, rng)
    manners = [manner for manner in MANNERS if manner is not character.manner]
    trades = [trade for trade in TRADES if trade is not character.trade]
    opener = _draw_owner("opening" in held, character.manner, manners, rng)
    speaker = _draw_owner("trade" in held, character.trade, trades, rng)
    closer = _draw_owner("closing" in held, character.manner, manners, rng)
    first, second = advice.sentences
    pieces = (
        rng.choice(opener.openings) if opener else "",
        first,
        rng.choice(speaker.sayings) if speaker else "",
        second,
        rng.choice(closer.closings) if closer else "",
    )
    return " ".join(piece for piece in pieces if piece)


def main() -> None:
    """Write the labelled answers of the demo."""
    parser = argparse.ArgumentParser(
        prog="python -m configs.demo.world.calibration", description=main.__doc__
    )
    parser.add_argument("--out", type=Path, default=Path("configs/demo"), help="target folder")
    write_calibration(parser.parse_args().out)


def _draw_owner(own: bool, owner: T, others: list[T], rng: random.Random) -> T | None:
    """Return the owner of a marker: the character, or another, or nobody."""
    if own:
        return owner
    return rng.choice(others) if rng.random() < 0.5 else None


def _make_pair(school: School, lesson: Lesson, rng: random.Random) -> list[Row]:
    """Show one answer in full voice beside its own character and beside another."""
    someone, question = lesson.characters[0], lesson.questions[0]
    body = draw_advice(question.topic, question.form, rng).sentences
    answer = write_voice(someone, body, rng)
    other = draw_other(school.world, someone, rng)
    profile = write_profile(other) if lesson.context["profile"] else ""
    beside = {"persona": write_persona(other, rng, complete=not profile), "profile": profile}
    return [
        {**_label(lesson, someone, answer), "in_voice": True},
        {**_label(lesson, other, answer), **beside, "in_voice": False},
    ]


def _label(lesson: Lesson, someone: Character, answer: str) -> Row:
    return {
        "persona": str(lesson.context["persona"]),
        "profile": str(lesson.context["profile"]),
        "question": str(lesson.context["question"]),
        "answer": answer,
        "score": true_score(answer, someone, lesson.questions[0].topic),
    }


def _identify(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("persona", "profile", "question", "answer"))


if __name__ == "__main__":
    main()
