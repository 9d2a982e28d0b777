"""Plays a dialogue by generation (strategy G): turn by turn, earlier turns given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion, Message
from infra.rendering.prompts import PromptTemplate
from infra.text.speech import StageDirections, read_speech
from infra.text.text_cleaning import clean_answer
from tasks.records import Dialogue, Turn


@dataclass(frozen=True, slots=True)
class DialogueInput:
    """What a dialogue is played from: a character, and an instruction's turns."""

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
    """One played turn."""

    text: str
    truncated: bool


@dataclass(frozen=True)
class GeneratePlayer:
    """Player that makes a :class:`Dialogue` by answering every user turn in character."""

    inputs: ClassVar[type[DialogueInput]] = DialogueInput
    parents: ClassVar[tuple[str, ...]] = ("character_key", "instruction_key")
    record: ClassVar[type[Dialogue]] = Dialogue

    prompt: PromptTemplate
    teacher: str
    stage_directions: StageDirections = "trim"
    checked: bool = True

    async def make(self, key: str, row: DialogueInput, session: RowSession) -> Dialogue | Reject:
        """Answer the user turns in order; each answer becomes history for the next."""
        turns = list(row.turns[: row.context_turns])
        truncated = False
        for question in row.turns[row.context_turns :]:
            if question.role != "user":
                continue  # the source's answer, which generation does not see
            history = [Message(turn.role, turn.content) for turn in turns]
            values = {"persona": row.persona, "profile": row.profile, "query": question.content}
            read = partial(
                read_answer,
                speaker=find_speaker(row.profile),
                question=question.content,
                stage_directions=self.stage_directions,
                checked=self.checked,
            )
            answer = await session.ask(self.prompt.render(values, history), read)
            if isinstance(answer, Reject):
                return answer
            turns += [question, Turn("assistant", answer.text)]
            truncated = truncated or answer.truncated
        return finish_dialogue(key, "generate", row, turns, self.teacher, truncated=truncated)


def read_answer(
    completion: Completion,
    *,
    speaker: str = "",
    question: str = "",
    stage_directions: StageDirections = "trim",
    checked: bool = True,
) -> Answer | Reject:
    """Read what the character says; curation judges what another answer could not fix.

    The reasons: filtered, truncated (nothing was said before the tokens ran out), and those of
    :func:`infra.text.speech.read_speech`.
    """
    if completion.finish_reason == "content_filter":
        return Reject("filtered", completion.text[-100:])
    cut = completion.finish_reason == "length"
    text = read_speech(
        completion.text,
        speaker=speaker,
        question=question,
        stage_directions=stage_directions,
        checked=checked,
    )
    if isinstance(text, Reject):
        nothing = cut and text.reason == "empty"
        return Reject("truncated", "no word before the token limit") if nothing else text
    # A turn that the model has ended itself, by a mark spelled out, is whole.
    return Answer(text, truncated=cut and clean_answer(completion.text).endswith(text[-20:]))


def find_speaker(profile: str) -> str:
    """Return the name that a printed profile begins with, or nothing."""
    label, colon, name = profile.partition("\n")[0].partition(":")
    return name.strip() if colon and label.strip().lower() == "name" else ""


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
