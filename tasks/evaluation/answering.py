"""Answers evaluation questions in character: one question, one reply, one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from infra.errors import ConfigError, Problem, Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion, Message
from infra.rendering.prompts import PromptTemplate
from tasks.records import Answer, EvalTask

_VALUES = frozenset({"persona", "profile"})


@dataclass(frozen=True, slots=True)
class AnswerInput:
    """What an answer is given to; ``profile`` is empty where only the persona is shown."""

    key: str
    question_key: str
    persona_key: str
    persona: str
    profile: str
    task: EvalTask
    question: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Text of a completion, and whether it ran into the token limit."""

    text: str
    truncated: bool


@dataclass(frozen=True)
class Answerer:
    """Maker of an :class:`Answer`; runs in a stage worker.

    ``prompt`` is the system prompt alone: the one the model was tuned with, or PersonaGym's.
    ``model`` is the name that records carry.
    """

    inputs: ClassVar[type[AnswerInput]] = AnswerInput
    parents: ClassVar[tuple[str, ...]] = ("question_key",)
    record: ClassVar[type[Answer]] = Answer

    prompt: PromptTemplate
    model: str

    async def make(self, key: str, row: AnswerInput, session: RowSession) -> Answer | Reject:
        """Ask the question; an empty reply is asked for again, and no answer in the end."""
        system = self.prompt.render({"persona": row.persona, "profile": row.profile})
        reply = await session.ask((*system, Message("user", row.question)), read_reply)
        if isinstance(reply, Reject):
            return reply
        return Answer(
            key=key,
            question_key=row.question_key,
            persona_key=row.persona_key,
            persona=row.persona,
            task=row.task,
            model=self.model,
            question=row.question,
            answer=reply.text,
            truncated=reply.truncated,
        )


def require_system_prompt(template: PromptTemplate) -> PromptTemplate:
    """Return a role-play prompt if it is one: a single system message that shows the persona.

    Raises :class:`ConfigError` otherwise.
    """
    blank = dict.fromkeys(_VALUES, "")
    unknown = template.variables() - _VALUES
    if unknown or "persona" not in template.variables():
        what = f"uses {', '.join(sorted(unknown))}" if unknown else "does not show the persona"
        todo = "use {{ persona }} and, if you like, {{ profile }}"
        raise ConfigError(Problem(template.name, what, todo))
    if [message.role for message in template.render(blank)] != ["system"]:
        what = "must be one [system] message"
        raise ConfigError(Problem(template.name, what, "remove the other messages"))
    return template


def read_reply(completion: Completion) -> Reply | Reject:
    """Take any reply that is not empty, as it is: what it is worth is for the judge to say."""
    text = completion.text.strip()
    if not text:
        return Reject("empty")
    return Reply(text, truncated=completion.finish_reason == "length")
