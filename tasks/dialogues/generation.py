"""Plays a dialogue by generation (strategy G): turn by turn, earlier turns given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from infra.asking import RowSession
from infra.engines.protocol import Completion, Message
from infra.errors import Reject
from infra.prompts import PromptTemplate
from tasks.records import Dialogue, Turn


@dataclass(frozen=True, slots=True)
class DialogueInput:
    """Is what a dialogue is played from: a character, and an instruction's turns."""

    key: str
    character_key: str
    persona_key: str
    persona: str
    profile: str
    instruction_key: str
    corpus: str
    question_id: str
    context_turns: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Is one played turn."""

    text: str
    truncated: bool


@dataclass(frozen=True)
class GeneratePlayer:
    """Makes a :class:`Dialogue` by answering every user turn in character."""

    inputs: ClassVar[type[DialogueInput]] = DialogueInput
    record: ClassVar[type[Dialogue]] = Dialogue

    prompt: PromptTemplate
    teacher: str

    async def make(self, key: str, row: DialogueInput, session: RowSession) -> Dialogue | Reject:
        """Answer the user turns in order; each answer becomes history for the next."""
        turns = list(row.turns[: row.context_turns])
        truncated = False
        for question in row.turns[row.context_turns :]:
            if question.role != "user":
                continue  # the source's answer, which generation does not see
            history = [Message(turn.role, turn.content) for turn in turns]
            values = {"persona": row.persona, "profile": row.profile, "query": question.content}
            answer = await session.ask(self.prompt.render(values, history), read_answer)
            if isinstance(answer, Reject):
                return answer
            turns += [question, Turn("assistant", answer.text)]
            truncated = truncated or answer.truncated
        return finish_dialogue(key, "generate", row, turns, self.teacher, truncated=truncated)


def read_answer(completion: Completion) -> Answer | Reject:
    """Take any answer that is not empty; curation judges the rest."""
    text = completion.text.strip()
    if not text:
        return Reject("empty")
    return Answer(text, truncated=completion.finish_reason == "length")


def finish_dialogue(
    key: str,
    strategy: str,
    row: DialogueInput,
    turns: list[Turn],
    teacher: str,
    *,
    truncated: bool = False,
    restored: bool = False,
) -> Dialogue:
    """Build the record of a played dialogue."""
    return Dialogue(
        key=key,
        strategy="generate" if strategy == "generate" else "rewrite",
        character_key=row.character_key,
        persona_key=row.persona_key,
        instruction_key=row.instruction_key,
        corpus=row.corpus,
        question_id=row.question_id,
        context_turns=row.context_turns,
        turns=tuple(turns),
        user_turns_restored=restored,
        truncated=truncated,
        teacher=teacher,
    )
