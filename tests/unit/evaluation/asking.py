"""Lets makers ask an engine that answers from a list, and remembers what was asked."""

from __future__ import annotations

import asyncio
from typing import Any

from infra.generation.asking import AskOptions, RowSession
from infra.paths import packaged_configs
from infra.protocol import Completion, Engine, Request
from infra.rendering.prompts import PromptTemplate


class Teller:
    """Answers with one text after another; a pair is a text and its finish reason."""

    def __init__(self, *answers: str | tuple[str, str]) -> None:
        self._answers = [item if isinstance(item, tuple) else (item, "stop") for item in answers]
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        text, finish = self._answers.pop(0)
        return Completion(text, finish, 10, 5)

    async def close(self) -> None:
        return

    @property
    def prompts(self) -> list[str]:
        """The last message of every request."""
        return [request.messages[-1].content for request in self.requests]


def make(maker: Any, row: Any, engine: Engine, *, attempts: int = 1, greedy: bool = False) -> Any:
    options = AskOptions(0.0 if greedy else 0.9, 1.0, 400, max_attempts=attempts, seed=3)
    session = RowSession(row.key, engine, None, options)
    return asyncio.run(maker.make(row.key, row, session))


def complete(text: str, finish: str = "stop") -> Completion:
    return Completion(text, finish, 10, 5)


def load_prompt(name: str) -> PromptTemplate:
    return PromptTemplate.load(packaged_configs() / "prompts" / name)
