"""Proves that of the deltas of an answer only the speech comes through, as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.engines.spoken_stream import UNSPOKEN, SpokenStream
from infra.errors import RequestFailed
from infra.protocol import Completion, Delta, Message, Request, SamplingParams
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts

ASK = Request("r", (Message("user", "When?"),), None, SamplingParams(0.5, 0.9, 32))
OPENED = ThinkingFacts(opened="<think>", families=frozenset({"tag"}))


class Parrot:
    """Speaks the deltas it was given."""

    def __init__(self, *deltas: str | Delta, reason: str = "stop", fails: bool = False) -> None:
        self._pieces, self._reason, self._fails = deltas, reason, fails
        self.closed = 0

    async def start(self) -> str:
        """Be ready."""
        return "a parrot"

    async def generate(self, request: Request) -> Completion:
        """Answer whole."""
        return Completion("<think>a</think>b", "stop", 1, 2)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Give out the deltas."""
        try:
            for delta in self._pieces:
                yield delta if isinstance(delta, Delta) else Delta(delta)
            if self._fails:
                raise RequestFailed("broke off")
            yield Delta("", self._reason)
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Hold nothing."""


def hear(parrot: Parrot, facts: ThinkingFacts = NOTHING_KNOWN) -> list[Delta]:
    async def main() -> list[Delta]:
        return [delta async for delta in SpokenStream(parrot, facts).stream(ASK)]

    return asyncio.run(main())


def said(deltas: list[Delta]) -> str:
    start = max((place for place, delta in enumerate(deltas) if delta.retracts), default=0)
    return "".join(delta.text for delta in deltas[start:])


def test_a_thought_is_told_of_and_not_shown() -> None:
    deltas = hear(Parrot("<thi", "nk>\nwhich ", "ferry?\n</th", "ink>\n\nAt ", "six."))
    assert said(deltas) == "At six."
    assert [delta.thinking for delta in deltas].index(True) == 0
    assert not deltas[-1].thinking
    assert deltas[-1].finish_reason == "stop"


def test_plain_speech_comes_as_it_is_made() -> None:
    deltas = hear(Parrot("At ", "six, ", "child."))
    assert [delta.text for delta in deltas] == ["At ", "six, ", "child.", ""]


def test_a_thought_that_the_prompt_opened_is_never_shown() -> None:
    deltas = hear(Parrot("which ", "ferry?", "</think>", "At six."), OPENED)
    assert said(deltas) == "At six."
    assert not any(delta.retracts for delta in deltas)


def test_what_turns_out_to_be_a_thought_is_taken_back() -> None:
    deltas = hear(Parrot("which ferry?\n", "</think>\n", "\nAt six."))
    assert [delta.retracts for delta in deltas].count(True) == 1
    assert said(deltas) == "At six."


@pytest.mark.parametrize("facts", [NOTHING_KNOWN, OPENED])
def test_a_thought_to_the_end_is_no_answer(facts: ThinkingFacts) -> None:
    deltas = hear(Parrot("<think>which ", "ferry", reason="length"), facts)
    assert (said(deltas), deltas[-1].finish_reason) == ("", UNSPOKEN)


def test_reasoning_that_comes_apart_is_told_of_only() -> None:
    deltas = hear(Parrot(Delta("", reasoning="which"), Delta("", reasoning=" ferry"), "At six."))
    assert said(deltas) == "At six."
    assert [delta.thinking for delta in deltas] == [True, False, False]
    assert not any(delta.reasoning for delta in deltas)


def test_errors_pass_and_leaving_early_stops_the_answer() -> None:
    failing = Parrot("At ", fails=True)
    with pytest.raises(RequestFailed):
        hear(failing)

    async def leave() -> None:
        stream = SpokenStream(staying).stream(ASK)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    staying = Parrot("At ", "six")
    asyncio.run(leave())
    assert (failing.closed, staying.closed) == (1, 1)


def test_whole_answers_are_left_to_who_asks() -> None:
    whole = asyncio.run(SpokenStream(Parrot()).generate(ASK))
    assert whole.text == "<think>a</think>b"
