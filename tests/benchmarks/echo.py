"""Makes rows that take any answer, so that a benchmark measures the runner and not a parser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate


@dataclass(frozen=True, slots=True)
class EchoInput:
    """Is what a benchmark row is made from."""

    key: str
    persona: str


@dataclass(frozen=True, slots=True)
class Echo:
    """Is a benchmark row: the answer as it came."""

    key: str
    text: str


@dataclass(frozen=True)
class EchoMaker:
    """Asks once and keeps whatever comes."""

    inputs: ClassVar[type[EchoInput]] = EchoInput
    record: ClassVar[type[Echo]] = Echo
    parents: ClassVar[tuple[str, ...]] = ()

    prompt: PromptTemplate

    async def make(self, key: str, row: EchoInput, session: RowSession) -> Echo | Reject:
        """Ask for one answer."""
        text = await session.ask(self.prompt.render({"persona": row.persona}), _take)
        return text if isinstance(text, Reject) else Echo(key, text)


@dataclass(frozen=True)
class EchoSampling:
    """Holds the sampling knobs of a benchmark stage."""

    max_new_tokens: int
    temperature: float = 0.7
    top_p: float = 0.95
    max_attempts: int = 1
    seed: int = 0
    min_yield: float = 0.0


def _take(completion: Completion) -> str:
    return completion.text
