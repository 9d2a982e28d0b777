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
from tasks.dialogues.config import GenerateConfig
from tasks.dialogues.playing import DialogueInput, Strategy, find_speaker, finish_dialogue
from tasks.records import Dialogue, Turn


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


def _make_player(config: GenerateConfig, prompt: PromptTemplate, teacher: str) -> GeneratePlayer:
    return GeneratePlayer(prompt, teacher, config.stage_directions, config.check_speech)


STRATEGY = Strategy("generate", 3, "query", _make_player)
