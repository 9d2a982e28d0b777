"""Makes rows that take any answer, so that a benchmark measures the runner and not a parser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate


@dataclass(frozen=True, slots=True)
class EchoInput:
    """Is what a benchmark row is made from."""

    key: str
    persona: str
    profile: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Echo:
    """Is a benchmark row: the answer as it came."""

    key: str
    text: str


@dataclass(frozen=True)
class EchoMaker:
    """Asks once and keeps whatever comes."""

    inputs: ClassVar[type[EchoInput]] = EchoInput
    record: ClassVar[type[Any]] = Echo
    parents: ClassVar[tuple[str, ...]] = ()

    prompt: PromptTemplate

    async def make(self, key: str, row: EchoInput, session: RowSession) -> Echo | Reject:
        """Ask for one answer."""
        values = {"persona": row.persona, "profile": row.profile, "query": row.query}
        text = await session.ask(self.prompt.render(values), _take)
        return text if isinstance(text, Reject) else Echo(key, text)


@dataclass(frozen=True, slots=True)
class TimedEcho:
    """Is an answer with the moment at which it came, in seconds since 1970."""

    key: str
    text: str
    made_at: float


@dataclass(frozen=True)
class TimedEchoMaker(EchoMaker):
    """Asks once, and notes when the answer came."""

    record: ClassVar[type[Any]] = TimedEcho

    async def make(self, key: str, row: EchoInput, session: RowSession) -> Any:
        """Ask for one answer."""
        made = await super().make(key, row, session)
        return made if isinstance(made, Reject) else TimedEcho(key, made.text, time.time())


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
