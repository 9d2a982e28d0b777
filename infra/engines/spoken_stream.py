"""Lets only the speech of an answer through, while the thoughts are still being made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from infra.protocol import Completion, Delta, Request, StreamingEngine
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts
from infra.thoughts.parting import ThoughtFilter

UNSPOKEN = "unspoken"
"""Why an answer ended that is none: the model thought to the end of its tokens."""


class SpokenStream:
    """Streaming engine without its thoughts.

    Whole answers (:meth:`generate`) are left to who asks for them: a
    :class:`infra.generation.asking.RowSession` parts them once.
    """

    def __init__(self, engine: StreamingEngine, facts: ThinkingFacts = NOTHING_KNOWN) -> None:
        self._engine, self._facts = engine, facts

    async def start(self) -> str:
        """Get ready, and tell what answers."""
        return await self._engine.start()

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole, thoughts and all."""
        return await self._engine.generate(request)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Answer one request in deltas of speech; see :class:`Delta`."""
        listener, seen, told = ThoughtFilter(self._facts), 0, False
        reason: str | None = None
        # Of the protocol only an iterator is known; each shipped engine gives a generator.
        deltas = self._engine.stream(request)
        async with aclosing(deltas):  # type: ignore[type-var]
            async for delta in deltas:
                text = listener.feed(delta.text)
                reason = delta.finish_reason or reason
                thinks = bool(delta.reasoning) or listener.thinking
                if listener.retractions > seen:
                    yield Delta(text, thinking=thinks, retracts=True)
                elif text or thinks != told:
                    yield Delta(text, thinking=thinks)
                seen, told = listener.retractions, thinks
        rest = listener.finish()
        ended = reason if listener.speech.closed else UNSPOKEN
        yield Delta(rest, ended, retracts=listener.retractions > seen)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
