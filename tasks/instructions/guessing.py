"""Guesses the prompt a persona would ask (PH-Instruct): one request, one instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate
from infra.text.languages import is_language
from tasks.instructions.synthesis import parse_guess
from tasks.records import Instruction, Turn

CORPUS = "ph-instruct"


@dataclass(frozen=True, slots=True)
class GuessInput:
    """What a prompt is guessed from."""

    key: str
    persona_key: str
    persona: str


@dataclass(frozen=True)
class InstructionGuesser:
    """Maker of an :class:`Instruction` without an answer; runs in a stage worker."""

    inputs: ClassVar[type[GuessInput]] = GuessInput
    parents: ClassVar[tuple[str, ...]] = ("persona_key",)
    record: ClassVar[type[Instruction]] = Instruction

    prompt: PromptTemplate
    language: str | None

    async def make(self, key: str, row: GuessInput, session: RowSession) -> Instruction | Reject:
        """Ask for the prompt until it has the right beginning and language."""
        messages = self.prompt.render({"persona": row.persona})
        guess = await session.ask(messages, self._read)
        if isinstance(guess, Reject):
            return guess
        return Instruction(
            key=key,
            corpus=CORPUS,
            question_id=row.persona_key,
            context_turns=0,
            turns=(Turn("user", guess),),
        )

    def _read(self, completion: Completion) -> str | Reject:
        if completion.finish_reason == "length":
            return Reject("truncated", "the prompt ran into the token limit")
        guess = parse_guess(completion.text)
        foreign = (
            isinstance(guess, str)
            and self.language is not None
            and not is_language(guess, self.language)
        )
        return Reject("wrong_language", str(guess)[:200]) if foreign else guess
