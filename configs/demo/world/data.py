"""Writes the demo's input data: personas with natural flaws, questions, chats and a rubric."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs.demo.world.rubrics import DEMO_RUBRIC
from configs.demo.world.texts import draw_advice, write_follow_up, write_neutral, write_persona
from configs.demo.world.topics import FORMS, TOPICS
from configs.demo.world.world import Question, World

_FOREIGN = (
    "Eine Bäckerin aus Lissabon, die am Wochenende mit ihren drei Kindern im Garten arbeitet",
    "Un marin de Bretagne qui passe ses dimanches à peindre de petits bateaux en bois",
    "一位住在京都的老师周末喜欢和家人一起做园艺和读书。",
)
_TOO_SHORT = ("A cook", "Me")
_NEW, _SEEN = 150, 130
_CHATS = 16


def write_data(folder: Path, seed: int = 7) -> None:
    """Write personas.jsonl, instructions.jsonl, chats.jsonl and rubric.json."""
    rng = random.Random(seed)
    world = World()
    _write_lines(folder / "personas.jsonl", _make_personas(world, rng))
    _write_lines(folder / "instructions.jsonl", _make_instructions(rng))
    _write_lines(folder / "chats.jsonl", _make_chats(world, rng))
    rubric = json.dumps(dataclasses.asdict(DEMO_RUBRIC), indent=1)
    (folder / "rubric.json").write_text(rubric + "\n", encoding="utf-8")


def _make_personas(world: World, rng: random.Random) -> list[Mapping[str, object]]:
    """Make personas, half of them of held-out pairs, and flaws for the cleaning to find."""
    texts: list[str] = []
    while len(texts) < _NEW + _SEEN:
        someone = world.draw_character(rng, held_out=len(texts) < _NEW)
        text = write_persona(someone, rng, complete=True)
        if text not in texts:
            texts.append(text)
    flaws = [f"  {text} " for text in rng.sample(texts, 6)]
    flaws += [f"{text.rstrip('.')}!" for text in rng.sample(texts, 4)]
    flaws += [*_FOREIGN, *_TOO_SHORT]
    mixed = [*texts, *flaws]
    rng.shuffle(mixed)
    return [{"persona": text} for text in mixed]


def _make_instructions(rng: random.Random) -> list[Mapping[str, object]]:
    """Ask every topic in every form, with an answer that anybody could give."""
    rows: list[Mapping[str, object]] = []
    for topic in TOPICS:
        for form in FORMS:
            question = rng.choice(form.questions).format(topic.phrase)
            answer = write_neutral(draw_advice(topic, form, rng), rng)
            rows.append({"instruction": question, "input": "", "output": answer})
    return rows


def _make_chats(world: World, rng: random.Random) -> list[Mapping[str, object]]:
    """Make conversations of two questions, as alternating texts."""
    rows: list[Mapping[str, object]] = []
    for _ in range(_CHATS):
        question: Question = world.draw_question(rng)
        first = draw_advice(question.topic, question.form, rng)
        more = draw_advice(question.topic, None, rng, beyond=(first.first, first.second))
        turns = [question.text, write_neutral(first, rng)]
        turns += [write_follow_up(question.topic, rng), write_neutral(more, rng)]
        rows.append({"conversations": turns, "source": "demo"})
    return rows


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
