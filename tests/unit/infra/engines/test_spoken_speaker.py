"""Proves that of a speaker's pieces only the speech comes through, as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.engines.spoken_speaker import UNSPOKEN, SpokenSpeaker
from infra.errors import RequestFailed
from infra.protocol import Completion, Message, Piece, Request, SamplingParams
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts

ASK = Request("r", (Message("user", "When?"),), None, SamplingParams(0.5, 0.9, 32))
OPENED = ThinkingFacts(opened="<think>", families=frozenset({"tag"}))


class Parrot:
    """Speaks the pieces it was given."""

    def __init__(self, *pieces: str | Piece, reason: str = "stop", fails: bool = False) -> None:
        self._pieces, self._reason, self._fails = pieces, reason, fails
        self.closed = 0

    async def start(self) -> str:
        """Be ready."""
        return "a parrot"

    async def generate(self, request: Request) -> Completion:
        """Answer whole."""
        return Completion("<think>a</think>b", "stop", 1, 2)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Give out the pieces."""
        try:
            for piece in self._pieces:
                yield piece if isinstance(piece, Piece) else Piece(piece)
            if self._fails:
                raise RequestFailed("broke off")
            yield Piece("", self._reason)
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Hold nothing."""


def hear(parrot: Parrot, facts: ThinkingFacts = NOTHING_KNOWN) -> list[Piece]:
    async def main() -> list[Piece]:
        return [piece async for piece in SpokenSpeaker(parrot, facts).stream(ASK)]

    return asyncio.run(main())


def said(pieces: list[Piece]) -> str:
    start = max((place for place, piece in enumerate(pieces) if piece.retracts), default=0)
    return "".join(piece.text for piece in pieces[start:])


def test_a_thought_is_told_of_and_not_shown() -> None:
    pieces = hear(Parrot("<thi", "nk>\nwhich ", "ferry?\n</th", "ink>\n\nAt ", "six."))
    assert said(pieces) == "At six."
    assert [piece.thinking for piece in pieces].index(True) == 0
    assert not pieces[-1].thinking
    assert pieces[-1].finish_reason == "stop"


def test_plain_speech_comes_as_it_is_made() -> None:
    pieces = hear(Parrot("At ", "six, ", "child."))
    assert [piece.text for piece in pieces] == ["At ", "six, ", "child.", ""]


def test_a_thought_that_the_prompt_opened_is_never_shown() -> None:
    pieces = hear(Parrot("which ", "ferry?", "</think>", "At six."), OPENED)
    assert said(pieces) == "At six."
    assert not any(piece.retracts for piece in pieces)


def test_what_turns_out_to_be_a_thought_is_taken_back() -> None:
    pieces = hear(Parrot("which ferry?\n", "</think>\n", "\nAt six."))
    assert [piece.retracts for piece in pieces].count(True) == 1
    assert said(pieces) == "At six."


@pytest.mark.parametrize("facts", [NOTHING_KNOWN, OPENED])
def test_a_thought_to_the_end_is_no_answer(facts: ThinkingFacts) -> None:
    pieces = hear(Parrot("<think>which ", "ferry", reason="length"), facts)
    assert (said(pieces), pieces[-1].finish_reason) == ("", UNSPOKEN)


def test_reasoning_that_comes_apart_is_told_of_only() -> None:
    pieces = hear(Parrot(Piece("", reasoning="which"), Piece("", reasoning=" ferry"), "At six."))
    assert said(pieces) == "At six."
    assert [piece.thinking for piece in pieces] == [True, False, False]
    assert not any(piece.reasoning for piece in pieces)


def test_errors_pass_and_leaving_early_stops_the_answer() -> None:
    failing = Parrot("At ", fails=True)
    with pytest.raises(RequestFailed):
        hear(failing)

    async def leave() -> None:
        stream = SpokenSpeaker(staying).stream(ASK)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    staying = Parrot("At ", "six")
    asyncio.run(leave())
    assert (failing.closed, staying.closed) == (1, 1)


def test_whole_answers_are_left_to_who_asks() -> None:
    whole = asyncio.run(SpokenSpeaker(Parrot()).generate(ASK))
    assert whole.text == "<think>a</think>b"
