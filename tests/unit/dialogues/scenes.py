"""Builds characters, questions, inputs, and an engine that answers from a list."""

from __future__ import annotations

import asyncio
from typing import Any

from infra.errors import Reject
from infra.generation.asking import AskOptions, RowSession
from infra.protocol import Completion, Request
from infra.store.fingerprints import content_key
from tasks.dialogues.playing import DialogueInput
from tasks.records import Character, Dialogue, Instruction, Turn


def make_turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(
        Turn("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)
    )


def make_character(name: str, persona: str = "") -> Character:
    persona = persona or f"A baker called {name}."
    return Character(
        key=content_key("character", name),
        persona_key=content_key("persona", name),
        persona=persona,
        name=name,
        age="40",
        gender="Female",
        race="Asian",
        birth_place="Cork",
        appearance="Tall.",
        general_experience="Bread.",
        personality="Warm.",
    )


def make_question(*texts: str, context_turns: int = 0) -> Instruction:
    return Instruction(
        content_key("instruction", str(context_turns), *texts),
        "lima",
        "7",
        context_turns,
        make_turns(*texts),
    )


def make_input(*texts: str, context_turns: int = 0) -> DialogueInput:
    question = make_question(*texts, context_turns=context_turns)
    return DialogueInput(
        key="d1",
        character_key="c1",
        persona_key="p1",
        persona="A {{ baker }}.",
        profile="Name: Ada",
        instruction_key=question.key,
        corpus=question.corpus,
        question_id=question.question_id,
        context_turns=context_turns,
        turns=question.turns,
    )


class Teller:
    """Answers with one text after another and remembers the requests."""

    def __init__(self, *answers: str | tuple[str, str]) -> None:
        self._answers = [item if isinstance(item, tuple) else (item, "stop") for item in answers]
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        text, finish = self._answers.pop(0)
        return Completion(text, finish, 10, 5)

    async def close(self) -> None:
        return


def play(
    player: Any, row: DialogueInput, teller: Teller, max_attempts: int = 1
) -> Dialogue | Reject:
    options = AskOptions(0.7, 0.9, 400, max_attempts=max_attempts, seed=0)
    session = RowSession(row.key, teller, None, options)
    made: Dialogue | Reject = asyncio.run(player.make(row.key, row, session))
    return made
