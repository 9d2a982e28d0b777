"""Proves how often, how and with which seeds a row asks, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import EngineError, PromptTooLong, Reject, RequestFailed
from infra.generation.asking import REMINDER, AskOptions, RowSession
from infra.protocol import Completion, Message, Request
from infra.rendering.encoder import PromptEncoder
from infra.store.fingerprints import request_seed
from tests.unit.infra.asked import ListedEngine
from tests.unit.infra.tokenizers import build_tokenizer

SAMPLED = AskOptions(temperature=0.7, top_p=0.9, max_new_tokens=50, max_attempts=4, seed=3)
GREEDY = replace(SAMPLED, temperature=0.0)
MESSAGES = (Message("system", "s"), Message("user", "q"))


def read_yes(completion: Completion) -> str | Reject:
    return "yes" if completion.text == "yes" else Reject("not_yes", completion.text)


def open_session(
    engine: ListedEngine,
    options: AskOptions = SAMPLED,
    encoder: PromptEncoder | None = None,
    key: str = "row",
) -> RowSession:
    return RowSession(key, engine, encoder, options)


def ask(session: RowSession, *, max_new_tokens: int | None = None) -> str | Reject:
    return asyncio.run(session.ask(MESSAGES, read_yes, max_new_tokens=max_new_tokens))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    folder: Path = tmp_path_factory.mktemp("model") / "tiny"
    return PromptEncoder(str(build_tokenizer(folder)))


def test_a_usable_answer_is_taken_at_once() -> None:
    engine = ListedEngine("yes")
    session = open_session(engine)
    assert ask(session) == "yes"
    assert (session.attempts, session.requests) == (1, 1)
    (request,) = engine.requests
    assert request.messages == MESSAGES
    assert request.token_ids is None
    assert request.sampling.seed == request_seed(3, "row", 0, 0)


def test_a_sampled_request_is_asked_again_with_the_next_seed_and_nothing_else_changed() -> None:
    engine = ListedEngine("no", "no", "yes")
    assert ask(open_session(engine)) == "yes"
    seeds = [request.sampling.seed for request in engine.requests]
    assert seeds == [request_seed(3, "row", 0, attempt) for attempt in range(3)]
    assert {request.messages for request in engine.requests} == {MESSAGES}
    assert {request.sampling.temperature for request in engine.requests} == {0.7}


def test_a_greedy_request_is_asked_with_a_reminder_then_warmer() -> None:
    engine = ListedEngine("no")
    ask(open_session(engine, GREEDY))
    temperatures = [request.sampling.temperature for request in engine.requests]
    assert temperatures == pytest.approx([0.0, 0.0, 0.3, 0.6])
    contents = [request.messages[-1].content for request in engine.requests]
    assert contents == ["q", *["q" + REMINDER] * 3]
    assert {request.messages[0] for request in engine.requests} == {MESSAGES[0]}


def test_after_the_last_attempt_the_last_verdict_stands() -> None:
    engine = ListedEngine("a", "b", "c", "d", "yes")
    session = open_session(engine)
    assert ask(session) == Reject("not_yes", "d")
    assert session.last_text == "d"
    assert len(engine.requests) == 4


def test_every_call_of_a_row_has_seeds_and_names_of_its_own() -> None:
    engine = ListedEngine("no", "yes")

    async def main() -> RowSession:
        session = open_session(engine)
        await session.ask(MESSAGES, read_yes)
        await session.ask(MESSAGES, read_yes)
        return session

    session = asyncio.run(main())
    assert len({request.sampling.seed for request in engine.requests}) == 4
    assert [request.request_id for request in engine.requests] == [
        "row-0-0", "row-0-1", "row-1-0", "row-1-1",
    ]  # fmt: skip
    assert (session.calls, session.attempts, session.requests) == (2, 2, 4)


def test_counters_add_up_over_attempts() -> None:
    session = open_session(ListedEngine("no", "no", "yes"))
    ask(session)
    assert session.attempts == session.requests == 3
    assert (session.prompt_tokens, session.cached_tokens, session.completion_tokens) == (
        300, 120, 21,
    )  # fmt: skip


def test_token_ids_are_those_of_the_messages_reminder_included(encoder: PromptEncoder) -> None:
    engine = ListedEngine("no", "yes")
    ask(open_session(engine, GREEDY, encoder))
    assert [request.token_ids for request in engine.requests] == [
        encoder.encode(request.messages) for request in engine.requests
    ]
    assert engine.requests[0].token_ids != engine.requests[1].token_ids


@pytest.mark.parametrize(("spare", "asked"), [(0, True), (-1, False)])
def test_a_prompt_that_leaves_no_room_is_rejected_without_a_request(
    encoder: PromptEncoder, spare: int, asked: bool
) -> None:
    engine = ListedEngine("yes")
    limit = len(encoder.encode(MESSAGES)) + 50 + spare
    verdict = ask(open_session(engine, replace(SAMPLED, context_tokens=limit), encoder))
    assert bool(engine.requests) == asked
    if not asked:
        assert isinstance(verdict, Reject)
        assert verdict.reason == "prompt_too_long"
        assert f"context of {limit}" in verdict.detail


def test_a_call_may_ask_for_a_shorter_answer(encoder: PromptEncoder) -> None:
    engine = ListedEngine("yes")
    limit = len(encoder.encode(MESSAGES)) + 10
    session = open_session(engine, replace(SAMPLED, context_tokens=limit), encoder)
    assert ask(session, max_new_tokens=10) == "yes"
    assert engine.requests[0].sampling.max_new_tokens == 10


def test_a_server_that_finds_the_prompt_too_long_rejects_the_row_for_good() -> None:
    engine = ListedEngine(PromptTooLong("9000 tokens > 8192"))
    assert ask(open_session(engine)) == Reject("prompt_too_long", "9000 tokens > 8192")
    assert len(engine.requests) == 1


@pytest.mark.parametrize("error", [RequestFailed("timeout"), EngineError("gone")])
def test_failures_are_no_verdicts_and_leave_the_row_pending(error: Exception) -> None:
    engine = ListedEngine("no", error)
    with pytest.raises(type(error), match=str(error)):
        ask(open_session(engine))
    assert len(engine.requests) == 2


def test_what_a_row_draws_depends_on_no_other_row() -> None:
    def seeds(keys: Sequence[str]) -> dict[str, list[int | None]]:
        drawn = {}
        for key in keys:
            engine = ListedEngine("no")
            ask(open_session(engine, key=key))
            drawn[key] = [request.sampling.seed for request in engine.requests]
        return drawn

    assert seeds(["a", "b"]) == seeds(["b", "a"])
    assert not set(seeds(["a"])["a"]) & set(seeds(["b"])["b"])


class ThoughtfulEngine(ListedEngine):
    """Answers with completions of one's own."""

    def __init__(self, *answers: Completion) -> None:
        super().__init__(*(answer.text for answer in answers))
        self._whole = answers

    async def generate(self, request: Request) -> Completion:
        """Answer and remember."""
        await super().generate(request)
        return self._whole[(len(self.requests) - 1) % len(self._whole)]


def test_what_a_model_thinks_reaches_no_reader_and_is_counted() -> None:
    session = open_session(ListedEngine("<think>\nyes or no?\n</think>\n\nyes"))
    assert ask(session) == "yes"
    assert session.last_text == "yes"
    assert len("yes or no?") <= session.thought_chars <= 20
    assert 0 < session.thought_tokens < session.completion_tokens


def test_a_thought_without_an_answer_is_asked_again_and_then_truncated() -> None:
    engine = ListedEngine("<think>yes", "<think>well</think>yes")
    assert ask(open_session(engine)) == "yes"
    assert len(engine.requests) == 2
    session = open_session(ListedEngine("<think>yes", "<think>yes</think>"))
    verdict = ask(session)
    assert isinstance(verdict, Reject) and verdict.reason == "truncated"
    assert "yes" not in verdict.detail + session.last_text


def test_reasoning_that_comes_apart_is_a_thought() -> None:
    apart = Completion("yes", "stop", 9, 10, reasoning="or no?")
    session = open_session(ThoughtfulEngine(apart))
    assert ask(session) == "yes"
    assert (session.thought_chars, session.thought_tokens) == (6, 6)
    alone = open_session(ThoughtfulEngine(replace(apart, text="", finish_reason="length")))
    verdict = ask(alone)
    assert isinstance(verdict, Reject) and verdict.reason == "truncated"


def test_kept_thoughts_stay_in_the_text() -> None:
    session = open_session(
        ListedEngine("<think>a</think>yes"), replace(SAMPLED, keeps_thoughts=True)
    )
    verdict = ask(session)
    assert isinstance(verdict, Reject) and verdict.detail == "<think>a</think>yes"


def test_thoughts_have_tokens_of_their_own(encoder: PromptEncoder) -> None:
    engine = ListedEngine("yes")
    options = replace(SAMPLED, max_thought_tokens=200)
    ask(open_session(engine, options), max_new_tokens=12)
    assert engine.requests[0].sampling.max_new_tokens == 212
    tight = replace(options, context_tokens=len(encoder.encode(MESSAGES)) + 200)
    verdict = ask(open_session(engine, tight, encoder), max_new_tokens=12)
    assert isinstance(verdict, Reject) and verdict.reason == "prompt_too_long"


def test_a_prompt_that_opens_a_thought_sends_no_grammar(tmp_path: Path) -> None:
    folder = str(build_tokenizer(tmp_path / "tiny"))
    opening = "{{ messages[-1]['content'] }}{% if add_generation_prompt %}<think>\n{% endif %}"
    engine = ListedEngine("is it?\n</think>\nyes", "yes")
    session = open_session(engine, encoder=PromptEncoder(folder, None, opening))
    assert asyncio.run(session.ask(MESSAGES, read_yes, schema={"type": "string"})) == "yes"
    assert engine.requests[0].schema is None
    # An answer in which the thought never ends is none, though it reads like one.
    twice = open_session(ListedEngine("yes"), encoder=PromptEncoder(folder, None, opening))
    assert isinstance(ask(twice), Reject)
