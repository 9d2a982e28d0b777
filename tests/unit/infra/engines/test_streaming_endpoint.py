"""Proves that streams of every server are read, and that refusals are told apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from infra.engines.endpoint.streaming_endpoint import StreamingEndpoint
from infra.engines.endpoint.wire import EndpointSettings
from infra.errors import EngineError, PromptTooLong, RequestFailed
from infra.protocol import Delta, Message, Request, SamplingParams
from infra.secrets.secrets import Secret

SETTINGS = EndpointSettings("http://server.test/v1", "tiny", "env:KEY")
KEY = Secret("sk-very-secret")
ASK = Request(
    "r", (Message("user", "hi <|eot_id|>"),), (1, 2), SamplingParams(0.5, 0.9, 32, seed=7)
)
Handler = Callable[[httpx.Request], httpx.Response]


def event(text: str | None, reason: str | None = None) -> str:
    delta = {} if text is None else {"content": text}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': reason}]})}\n\n"


def stream(*events: str) -> httpx.Response:
    return httpx.Response(
        200, headers={"content-type": "text/event-stream; charset=utf-8"}, text="".join(events)
    )


def listen(handler: Handler) -> list[Delta]:
    async def main() -> list[Delta]:
        engine = StreamingEndpoint(SETTINGS, KEY, transport=httpx.MockTransport(handler))
        try:
            return [delta async for delta in engine.stream(ASK)]
        finally:
            await engine.close()

    return asyncio.run(main())


def test_pieces_come_as_they_are_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        usage = {"choices": [], "usage": {"completion_tokens": 2}}
        return stream(
            ": comment\n\n",
            event(None),
            event("Good "),
            event("evening."),
            event("", "stop"),
            f"data: {json.dumps(usage)}\n\n",
            "data: [DONE]\n\n",
        )

    deltas = listen(answer)
    assert "".join(delta.text for delta in deltas) == "Good evening."
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    body = json.loads(seen[0].content)
    assert (body["stream"], body["model"], body["seed"], body["max_tokens"]) == (
        True,
        "tiny",
        7,
        32,
    )
    assert body["messages"] == [{"role": "user", "content": "hi < |eot_id|>"}]
    assert seen[0].headers["authorization"] == "Bearer sk-very-secret"


def test_an_answer_that_ran_out_says_so() -> None:
    deltas = listen(lambda _: stream(event("a", "max_tokens")))
    assert deltas == [Delta("a", "length")]


def test_a_server_that_does_not_stream_is_heard_whole() -> None:
    choice = {"message": {"content": "All at once."}, "finish_reason": "stop"}
    deltas = listen(lambda _: httpx.Response(200, json={"choices": [choice]}))
    assert deltas == [Delta("All at once.", "stop")]


@pytest.mark.parametrize(
    ("response", "kind", "told"),
    [
        (httpx.Response(400, json={"error": {"message": "maximum model length is 9"}}),
         PromptTooLong, "maximum model length"),
        (httpx.Response(401, json={"error": {"message": "bad key sk-very-secret"}}),
         RequestFailed, "check the key"),
        (stream(event("half"), 'data: {"error": {"message": "sk-very-secret died"}}\n\n'),
         RequestFailed, "broke off the answer"),
        (stream("data: not json\n\n"), RequestFailed, "cannot be read"),
    ],
)  # fmt: skip
def test_refusals_are_told_without_the_key(response: Any, kind: Any, told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        listen(lambda _: response)
    assert "sk-very" not in str(caught.value)


def test_only_a_refusal_that_every_request_would_meet_is_fatal() -> None:
    for status, fatal in ((401, True), (503, False)):
        with pytest.raises(RequestFailed) as caught:
            listen(lambda _, status=status: httpx.Response(status, text="no"))  # type: ignore[misc]
        assert caught.value.fatal is fatal


def test_a_server_that_is_not_there_is_an_engine_error() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(EngineError, match=r"server\.test/v1 .* check that the server there is up"):
        listen(refuse)
