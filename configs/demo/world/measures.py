"""Measures what the demo's teacher can do, on people and questions that no lesson showed.

Everything is drawn with a seed and generated at temperature 0.7 without any grammar to hold the
model up; the judge is also tested on swapped answers, where a broken one still looks fine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from configs.demo.world.lessons import Lesson, Noise, School
from configs.demo.world.texts import FIELDS
from configs.demo.world.topics import Topic
from configs.demo.world.verdicts import draw_other, write_readout
from configs.demo.world.world import (
    Character,
    Question,
    World,
    held_out_questions,
    read_answer,
    true_score,
)

_BATCH = 48
_MAX_NEW_TOKENS = 220
_TEMPERATURE = 0.7

Ask = Callable[[Sequence[Lesson]], list[tuple[str, bool]]]


class HeldOutWorld(World):
    """World of only the people and questions that were held out of all lessons."""

    def draw_character(self, rng: random.Random, *, held_out: bool = True) -> Character:
        """Draw an inhabitant of a held-out pair, whatever is asked for."""
        return super().draw_character(rng, held_out=True)

    def draw_question(
        self, rng: random.Random, *, topic: Topic | None = None, held_out: bool = True
    ) -> Question:
        """Draw a question of a held-out pair; of any pair, if the topic has none held out."""
        unseen = {name for name, _ in held_out_questions()}
        held_out = topic is None or topic.name in unseen
        return super().draw_question(rng, topic=topic, held_out=held_out)


def measure_teacher(
    model: Any, tokenizer: Any, *, rows: int = 96, seed: int = 99
) -> dict[str, float]:
    """Return every measure by name, each a share between 0 and 1."""
    school = School(seed, Noise(strangers=0.0, requests=0.0, rewordings=0.0))
    school.world = HeldOutWorld()
    ask = _make_ask(model, tokenizer, seed)
    measures: dict[str, float] = {}
    ended: list[bool] = []
    for task, judge in _JUDGES.items():
        lessons = [school.draw_lesson(task) for _ in range(rows)]
        answers = ask(lessons)
        ended += [stopped for _, stopped in answers]
        found = [judge(lesson, text) for lesson, (text, _) in zip(lessons, answers, strict=True)]
        for name in sorted({name for item in found for name in item}):
            values = [item[name] for item in found if name in item]
            measures[f"{task}: {name}"] = sum(values) / len(values)
    measures |= _measure_judge(school, ask, rows)
    measures["ends by itself"] = sum(ended) / len(ended)
    return {name: round(value, 3) for name, value in measures.items()}


def _make_ask(model: Any, tokenizer: Any, seed: int) -> Ask:
    import torch

    torch.manual_seed(seed)
    model.eval()

    def ask(lessons: Sequence[Lesson]) -> list[tuple[str, bool]]:
        texts: list[tuple[str, bool]] = []
        for start in range(0, len(lessons), _BATCH):
            chats = [
                [{"role": item.role, "content": item.content} for item in lesson.messages]
                for lesson in lessons[start : start + _BATCH]
            ]
            prompts = tokenizer.apply_chat_template(
                chats, tokenize=False, add_generation_prompt=True
            )
            batch = tokenizer(
                prompts,
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            )
            with torch.inference_mode():
                output = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    do_sample=True,
                    temperature=_TEMPERATURE,
                    top_p=0.95,
                    max_new_tokens=_MAX_NEW_TOKENS,
                    pad_token_id=tokenizer.pad_token_id,
                )
            for row in output[:, batch["input_ids"].shape[1] :]:
                stopped = bool((row == tokenizer.eos_token_id).any())
                texts.append((tokenizer.decode(row, skip_special_tokens=True), stopped))
        return texts

    return ask


def _judge_profile(lesson: Lesson, text: str) -> Mapping[str, float]:
    someone = lesson.characters[0]
    fields = _read_profile(text)
    kind = "JSON parses" if lesson.context["structured"] else "plain parses"
    if fields is None:
        return {kind: 0.0}
    persona = str(lesson.context["persona"])
    found = {
        kind: 1.0,
        "trade": float(someone.trade.name in fields["General Experience"]),
    }
    if someone.manner.name in persona:
        found["manner"] = float(someone.manner.name in fields["Personality"].lower())
    if someone.place.city in persona:
        found["birth place"] = float(fields["Birth Place"] == someone.place.birth_place)
        found["race"] = float(fields["Race"] == someone.place.people)
    return found


def _read_profile(text: str) -> dict[str, str] | None:
    if text.startswith("{"):
        try:
            fields = json.loads(text)
        except ValueError:
            return None
    else:
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return fields if isinstance(fields, dict) and tuple(fields) == FIELDS else None


def _judge_answer(lesson: Lesson, text: str) -> Mapping[str, float]:
    someone, question = lesson.characters[0], lesson.questions[0]
    score = true_score(text, someone, question.topic)
    kind = "second turn, all markers" if lesson.history else "all markers, none of another's"
    return {kind: float(score == 5), "mean true score / 5": score / 5}


def _judge_rewriting(lesson: Lesson, text: str) -> Mapping[str, float]:
    source = json.loads(str(lesson.context["dialog"]))
    try:
        turns = json.loads(text)
    except ValueError:
        return {"JSON parses": 0.0}
    if not isinstance(turns, list) or len(turns) != len(source):
        return {"JSON parses": 0.0}
    someone, question = lesson.characters[0], lesson.questions[0]
    contents = [str(turn.get("content", "")) if isinstance(turn, dict) else "" for turn in turns]
    users = [item["content"] == text for item, text in zip(source, contents, strict=True)][::2]
    kept = [
        all(piece in new for piece in question.topic.advice if piece in old["content"])
        for old, new in zip(source[1::2], contents[1::2], strict=True)
    ]
    scores = [true_score(new, someone, question.topic) for new in contents[1::2]]
    return {
        "JSON parses": 1.0,
        "user turns unchanged": float(all(users)),
        "source advice kept": float(all(kept)),
        "all markers": float(all(score == 5 for score in scores)),
    }


def _judge_guess(lesson: Lesson, text: str) -> Mapping[str, float]:
    someone = lesson.characters[0]
    found = {"begins as asked": float(text.startswith("User prompt:"))}
    if someone.hobby.name in str(lesson.context["persona"]):
        phrases = [topic.phrase for topic in World().hobby_topics(someone.hobby)]
        found["topic of the hobby"] = float(any(phrase in text for phrase in phrases))
    if someone.place.city in str(lesson.context["persona"]):
        found["place"] = float(someone.place.city in text)
    return found


_JUDGES: Mapping[str, Callable[[Lesson, str], Mapping[str, float]]] = {
    "character": _judge_profile,
    "generate": _judge_answer,
    "rewrite": _judge_rewriting,
    "instruction": _judge_guess,
}


def _measure_judge(school: School, ask: Ask, rows: int) -> dict[str, float]:
    """Compare the judge's score with the truth, and see whether it tells own from another's."""
    rng = random.Random(5)
    lessons = [school.draw_lesson("judge") for _ in range(2 * rows)]
    wanted = [int(lesson.answer[-1]) for lesson in lessons]
    given = [_read_score(text) for text, _ in ask(lessons)]
    pairs = [(want, got) for want, got in zip(wanted, given, strict=True) if got is not None]
    own = [school.draw_lesson("judge") for _ in range(rows)]
    own = [lesson for lesson in own if _is_own(lesson)]
    swapped = [_swap(school, lesson, rng) for lesson in own]
    scores = [[_read_score(text) or 0 for text, _ in ask(group)] for group in (own, swapped)]
    return {
        "judge: verdict given": len(pairs) / len(lessons),
        "judge: exact": sum(want == got for want, got in pairs) / max(len(pairs), 1),
        "judge: within one": sum(abs(want - got) <= 1 for want, got in pairs) / max(len(pairs), 1),
        "judge: AUC own / another's": _area(scores[0], scores[1]),
    }


def _is_own(lesson: Lesson) -> bool:
    return lesson.answer.endswith("5")


def _swap(school: School, lesson: Lesson, rng: random.Random) -> Lesson:
    """Show the judge the same answer beside another character's persona and profile."""
    from configs.demo.world.texts import write_persona, write_profile

    other = draw_other(school.world, lesson.characters[0], rng)
    context = {
        **lesson.context,
        "persona": write_persona(other, rng, complete=True),
        "profile": write_profile(other) if lesson.context["profile"] else "",
    }
    answer, _ = write_readout(str(context["answer"]), other, lesson.questions[0])
    messages = school.render("judge", context)
    return Lesson("judge", messages, answer, context, characters=(other,))


def _read_score(text: str) -> int | None:
    tail = text.rpartition("final score is ")[2].strip().rstrip(".")
    return int(tail) if tail in {"1", "2", "3", "4", "5"} else None


def _area(above: Sequence[int], below: Sequence[int]) -> float:
    """Return the area under the ROC curve; ties count half."""
    wins = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    return sum(wins) / len(wins) if wins else float("nan")


def measure_student(
    model: Any, tokenizer: Any, *, rows: int = 96, seed: int = 99
) -> dict[str, float]:
    """Return how neutral the base student's answers are: no character may be heard in them."""
    school = School(seed, Noise(strangers=0.0, requests=0.0, rewordings=0.0))
    school.world = HeldOutWorld()
    lessons = [school.draw_student_lesson() for _ in range(rows)]
    answers = _make_ask(model, tokenizer, seed)(lessons)
    heard = [read_answer(text) for text, _ in answers]
    topics = [lesson.questions[0].topic.name for lesson in lessons]
    return {
        "on topic": sum(item.topic == topic for item, topic in zip(heard, topics, strict=True))
        / rows,
        "a voice is heard": sum(bool(item.opening or item.closing or item.trade) for item in heard)
        / rows,
        "ends by itself": sum(stopped for _, stopped in answers) / rows,
    }
