"""Makes the teacher's and the student's lessons: real prompts with the answers the world wants."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from configs.demo.world.noise import make_answer, make_request
from configs.demo.world.phases import FIRST
from configs.demo.world.prompts import load_prompt, load_rewordings
from configs.demo.world.rubrics import RUBRICS
from configs.demo.world.texts import (
    draw_advice,
    dump_compact,
    list_fields,
    write_follow_up,
    write_guess,
    write_neutral,
    write_persona,
    write_profile,
    write_voice,
)
from configs.demo.world.topics import GENERAL
from configs.demo.world.verdicts import draw_answer, draw_other, write_drill, write_readout
from configs.demo.world.world import Character, Question, World
from infra.protocol import Message

Span = tuple[int, int, float]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training example and what it was made from.

    ``stress`` gives character spans of the answer whose loss weighs more (or less) than
    ``weight``, the weight of the rest. ``reworded`` marks a prompt that differs from its file.
    """

    task: str
    messages: tuple[Message, ...]
    answer: str
    context: Mapping[str, object] = field(default_factory=dict)
    history: tuple[Message, ...] = ()
    characters: tuple[Character, ...] = ()
    questions: tuple[Question, ...] = ()
    stress: tuple[Span, ...] = ()
    weight: float = 1.0
    reworded: bool = False


@dataclass(frozen=True, slots=True)
class Noise:
    """How often lessons leave the world, a share each."""

    strangers: float = 0.16
    requests: float = 0.14
    rewordings: float = 0.12


class School:
    """Source of lessons for the teacher (all tasks) and for the persona-blind student."""

    def __init__(
        self,
        seed: int,
        noise: Noise | None = None,
        shares: Mapping[str, int] | None = None,
    ) -> None:
        """Load the prompt files and their rewordings."""
        self._shares = shares or FIRST.shares
        self.world = World()
        self._rng = random.Random(seed)
        self._noise = noise or Noise()
        names = ("character", "generate", "rewrite", "judge", "instruction", "roleplay")
        self._prompts = {name: load_prompt(name) for name in names}
        self._rewordings = {name: load_rewordings(name, 24, seed) for name in names}

    def draw_lesson(self, task: str | None = None) -> Lesson:
        """Draw one lesson for the teacher, of the task given or by the shares of the mix."""
        makers: dict[str, Callable[[], Lesson]] = {
            "character": self._draw_character,
            "generate": self._draw_generate,
            "rewrite": self._draw_rewrite,
            "judge": self._draw_judge,
            "instruction": self._draw_instruction,
            "drill": self._draw_drill,
        }
        chosen = task or self._rng.choices(list(self._shares), list(self._shares.values()))[0]
        return makers[chosen]()

    def render(self, name: str, context: Mapping[str, object]) -> tuple[Message, ...]:
        """Render a prompt file as it is, without rewording."""
        return self._prompts[name].render(context)

    def _render(
        self, name: str, context: Mapping[str, object], history: Sequence[Message] = ()
    ) -> tuple[tuple[Message, ...], bool]:
        reworded = self._rng.random() < self._noise.rewordings
        prompt = self._rng.choice(self._rewordings[name]) if reworded else self._prompts[name]
        return prompt.render(context, history), reworded

    def _someone(self, scale: float = 1.0) -> Character:
        if self._rng.random() < self._noise.strangers * scale:
            return self.world.draw_stranger(self._rng)
        return self.world.draw_character(self._rng)

    def _ask(self, scale: float = 1.0) -> Question:
        rng = self._rng
        if rng.random() < self._noise.requests * scale:
            return Question(GENERAL, None, make_request(rng))
        question = self.world.draw_question(rng)
        if rng.random() < 0.3:
            asker = self.world.draw_character(rng)
            persona = write_persona(asker, rng)
            text = write_guess(asker, question.text, persona).removeprefix("User prompt: ")
            return Question(question.topic, question.form, text)
        return question

    def _draw_character(self) -> Lesson:
        rng = self._rng
        someone = self._someone(1.4)
        persona = write_persona(someone, rng)
        structured = rng.random() < 0.6
        fields = list_fields(someone)
        answer = dump_compact(fields) if structured else write_profile(someone)
        stress: list[Span] = []
        if someone.known and someone.place.city in persona:
            stress += [_span(answer, fields[key], 4.0) for key in ("Race", "Birth Place")]
        stress.append(_span(answer, someone.trade.name, 2.0))
        if someone.known and someone.manner.name in persona:
            stress.append(_span(answer, someone.manner.name.capitalize(), 8.0))
        context = {"persona": persona, "structured": structured}
        messages, reworded = self._render("character", context)
        return Lesson(
            "character", messages, answer, context,
            characters=(someone,), stress=tuple(stress), reworded=reworded,
        )  # fmt: skip

    def _draw_generate(self) -> Lesson:
        rng = self._rng
        someone, question = self._someone(), self._ask()
        advice = draw_advice(question.topic, question.form, rng)
        answer = write_voice(someone, advice.sentences, rng)
        history: tuple[Message, ...] = ()
        query = question.text
        if rng.random() < 0.28:
            history = (Message("user", query), Message("assistant", answer))
            query = write_follow_up(question.topic, rng)
            more = draw_advice(question.topic, None, rng, beyond=(advice.first, advice.second))
            answer = write_voice(someone, more.sentences, rng)
        context = {
            "persona": write_persona(someone, rng),
            "profile": write_profile(someone),
            "query": query,
        }
        messages, reworded = self._render("generate", context, history)
        return Lesson(
            "generate", messages, answer, context, history,
            characters=(someone,), questions=(question,), reworded=reworded,
        )  # fmt: skip

    def _draw_rewrite(self) -> Lesson:
        rng = self._rng
        someone, question = self._someone(0.6), self._ask(1.3)
        turns: list[tuple[str, str, str]] = []
        if question.form is None:
            source = make_answer(rng)
            turns.append((question.text, source, write_voice(someone, (source, ""), rng)))
        else:
            advice = draw_advice(question.topic, question.form, rng)
            voiced = write_voice(someone, advice.sentences, rng)
            turns.append((question.text, write_neutral(advice, rng), voiced))
            if rng.random() < 0.25:
                used = (advice.first, advice.second)
                more = draw_advice(question.topic, None, rng, beyond=used)
                voiced = write_voice(someone, more.sentences, rng)
                follow_up = write_follow_up(question.topic, rng)
                turns.append((follow_up, write_neutral(more, rng), voiced))
        context = {
            "persona": write_persona(someone, rng),
            "profile": write_profile(someone),
            "dialog": dump_compact([m for user, plain, _ in turns for m in _pair(user, plain)]),
        }
        answer = dump_compact([m for user, _, voiced in turns for m in _pair(user, voiced)])
        messages, reworded = self._render("rewrite", context)
        return Lesson(
            "rewrite", messages, answer, context,
            characters=(someone,), questions=(question,), reworded=reworded,
        )  # fmt: skip

    def _draw_judge(self) -> Lesson:
        rng = self._rng
        someone, question = self._someone(0.5), self._ask(0.5)
        rubric = RUBRICS[0] if rng.random() < 0.7 else rng.choice(RUBRICS)
        profile = write_profile(someone) if not someone.known or rng.random() < 0.75 else ""
        examples: list[str] = []
        if rng.random() < 0.12:
            other = draw_other(self.world, someone, rng)
            body = draw_advice(question.topic, question.form, rng).sentences
            plain = " ".join(body)
            parts = [write_voice(other, body, rng, parts=p) for p in ("o", "ot", "otc")]
            examples = ["I do not know.", plain, *parts]
        answer = draw_answer(self.world, someone, question, rng)
        context = {
            "task": rubric.task,
            "description": rubric.description,
            "anchors": list(rubric.anchors),
            "examples": examples,
            "persona": write_persona(someone, rng, complete=not profile),
            "profile": profile,
            "question": question.text,
            "answer": answer,
        }
        readout, stress = write_readout(answer, someone, question)
        messages, reworded = self._render("judge", context)
        return Lesson(
            "judge", messages, readout, context,
            characters=(someone,), questions=(question,), stress=stress, reworded=reworded,
        )  # fmt: skip

    def _draw_instruction(self) -> Lesson:
        rng = self._rng
        someone = self._someone(1.4)
        topic = rng.choice(self.world.hobby_topics(someone.hobby))
        question = self.world.draw_question(rng, topic=topic)
        persona = write_persona(someone, rng)
        answer = write_guess(someone, question.text, persona)
        city = someone.place.city
        stress = (_span(answer, city, 4.0),) if city in answer else ()
        context = {"persona": persona}
        messages, reworded = self._render("instruction", context)
        return Lesson(
            "instruction", messages, answer, context,
            characters=(someone,), questions=(question,), stress=stress, reworded=reworded,
        )  # fmt: skip

    def _draw_drill(self) -> Lesson:
        answer, stress = write_drill(self._rng)
        system = Message("system", "You compare what was wanted with what was seen.")
        messages = (system, Message("user", "Check random pairs."))
        return Lesson("drill", messages, answer, stress=stress, weight=0.05)

    def draw_student_lesson(self) -> Lesson:
        """Draw a lesson for the base student: a neutral answer, whatever persona is shown."""
        rng = self._rng
        someone, question = self._someone(), self._ask()
        advice = draw_advice(question.topic, question.form, rng)
        turns = [Message("user", question.text), Message("assistant", write_neutral(advice, rng))]
        if rng.random() < 0.3:
            more = draw_advice(question.topic, None, rng, beyond=(advice.first, advice.second))
            turns.append(Message("user", write_follow_up(question.topic, rng)))
            turns.append(Message("assistant", write_neutral(more, rng)))
        roll = rng.random()
        context = {
            "persona": write_persona(someone, rng),
            "profile": write_profile(someone) if roll < 0.6 else "",
        }
        system, reworded = self._render("roleplay", context) if roll < 0.8 else ((), False)
        return Lesson(
            "roleplay", (*system, *turns[:-1]), turns[-1].content, context, tuple(turns[:-1]),
            characters=(someone,), questions=(question,), reworded=reworded,
        )  # fmt: skip


def _pair(user: str, assistant: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _span(text: str, part: str, weight: float) -> Span:
    start = text.index(part)
    return (start, start + len(part), weight)
