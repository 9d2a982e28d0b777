"""Lets of a speaker's pieces only the speech through, while the thoughts are still being made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from infra.protocol import Completion, Piece, Request, Speaker
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts
from infra.thoughts.parting import ThoughtFilter

UNSPOKEN = "unspoken"
"""Why an answer ended that is none: the model thought to the end of its tokens."""


class SpokenSpeaker:
    """A speaker without its thoughts.

    Whole answers (:meth:`generate`) are left to who asks for them: a
    :class:`infra.generation.asking.RowSession` parts them once.
    """

    def __init__(self, speaker: Speaker, facts: ThinkingFacts = NOTHING_KNOWN) -> None:
        self._speaker, self._facts = speaker, facts

    async def start(self) -> str:
        """Get ready, and tell what answers."""
        return await self._speaker.start()

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole, thoughts and all."""
        return await self._speaker.generate(request)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Answer one request in pieces of speech; see :class:`Piece`."""
        listener, seen, told = ThoughtFilter(self._facts), 0, False
        reason: str | None = None
        # Of the protocol only an iterator is known; each shipped speaker gives a generator.
        pieces = self._speaker.stream(request)
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                text = listener.feed(piece.text)
                reason = piece.finish_reason or reason
                thinks = bool(piece.reasoning) or listener.thinking
                if listener.retractions > seen:
                    yield Piece(text, thinking=thinks, retracts=True)
                elif text or thinks != told:
                    yield Piece(text, thinking=thinks)
                seen, told = listener.retractions, thinks
        rest = listener.finish()
        ended = reason if listener.speech.closed else UNSPOKEN
        yield Piece(rest, ended, retracts=listener.retractions > seen)

    async def close(self) -> None:
        """Close the speaker."""
        await self._speaker.close()
