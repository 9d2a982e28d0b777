"""Proves what is remembered of a conversation, and what is forgotten when it no longer fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from flows.talk.conversation import Conversation
from infra.errors import PromptTooLong, RequestFailed
from infra.protocol import Delta, Message, Request, SamplingParams


class Echo:
    """Answers with the number of messages; refuses prompts of more than so many."""

    def __init__(self, most: int = 99, fails: bool = False) -> None:
        self.most, self.fails = most, fails
        self.seen: list[Request] = []

    def __call__(self, request: Request) -> Iterator[Delta]:
        self.seen.append(request)
        if len(request.messages) > self.most:
            raise PromptTooLong("too long")
        yield Delta(f"{len(request.messages)} ")
        if self.fails:
            raise RequestFailed("broke off")
        yield Delta("messages", "stop")


def make(stream: Echo, seed: int | None = None) -> Conversation:
    def encode(messages: Sequence[Message]) -> tuple[int, ...]:
        return tuple(len(message.content) for message in messages)

    return Conversation("You are Ann.", SamplingParams(0.5, 0.9, 8, seed), stream, encode)


def say(conversation: Conversation, text: str) -> str:
    return "".join(delta.text for delta in conversation.ask(text))


def test_the_system_prompt_leads_and_turns_alternate() -> None:
    echo = Echo()
    talk = make(echo, seed=4)
    assert say(talk, "one") == "2 messages"
    assert say(talk, "two") == "4 messages"
    roles = [message.role for message in echo.seen[1].messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert echo.seen[1].messages[2].content == "2 messages"
    assert echo.seen[1].token_ids == (12, 3, 10, 3)
    assert [request.sampling.seed for request in echo.seen] == [5, 6]
    assert len({request.request_id for request in echo.seen}) == 2
    talk.reset()
    assert say(talk, "three") == "2 messages"


def test_the_oldest_exchange_is_forgotten_when_the_prompt_is_too_long() -> None:
    talk = make(Echo(most=4))
    for text in ("one", "two", "three", "four"):
        say(talk, text)
    assert talk.forgotten == 2
    assert [turn.content for turn in talk.turns if turn.role == "user"] == ["three", "four"]


def test_a_question_that_alone_is_too_long_is_told_and_not_kept() -> None:
    talk = make(Echo(most=1))
    with pytest.raises(PromptTooLong):
        say(talk, "one")
    assert talk.turns == []


def test_an_answer_that_broke_off_is_kept_as_far_as_it_was_heard() -> None:
    talk = make(Echo(fails=True))
    with pytest.raises(RequestFailed):
        say(talk, "one")
    assert [turn.content for turn in talk.turns] == ["one", "2"]
    stopped = make(Echo())
    with closing(stopped.ask("one")) as deltas:
        next(deltas)
    assert [turn.content for turn in stopped.turns] == ["one", "2"]


def test_what_turned_out_to_be_a_thought_is_not_remembered() -> None:
    def muse(request: Request) -> Iterator[Delta]:
        yield Delta("who is this?")
        yield Delta("Ahoy.", "stop", retracts=True)

    talk = Conversation("You are Ann.", SamplingParams(0.5, 0.9, 8), muse, None, keep_special=True)
    for _ in talk.ask("one"):
        pass
    assert [turn.content for turn in talk.turns] == ["one", "Ahoy."]
