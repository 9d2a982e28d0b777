"""Gives an engine that answers from a list and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Sequence

from infra.protocol import Completion, Request


class ListedEngine:
    """Answers with the next text of a list, over and over; an exception in it is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers: Sequence[str | Exception] = answers
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        """Answer and remember."""
        answer = self._answers[len(self.requests) % len(self._answers)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return Completion(answer, "stop", 100, 7, 40)

    async def close(self) -> None:
        """Hold nothing."""
