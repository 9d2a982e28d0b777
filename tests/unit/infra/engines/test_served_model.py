"""Speaks with a server that is played by a function; real ones: tests/e2e."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm.openai_server import OpenAiServer
from infra.engines.vllm.served_model import ServedModel
from infra.errors import EngineError, PromptTooLong
from infra.protocol import Message, Request, SamplingParams

CONTEXT = 100


class Server:
    """Is what answers at the address, and the process that is not there."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.happened: list[str] = []
        self.breaks = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json={"version": "0.32.0"})
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"max_model_len": CONTEXT}]})
        assert request.url.path == "/v1/completions"
        assert len(request.headers["authorization"]) > 30
        if self.breaks:
            raise httpx.ReadError("gone")
        self.bodies.append(body := json.loads(request.content))
        if not body["stream"]:
            choice = {"text": '{"name": "Ann"}', "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 5}
            return httpx.Response(200, json={"choices": [choice], "usage": usage})
        events = [{"text": "Good "}, {"text": "day.", "finish_reason": "stop"}]
        lines = [f"data: {json.dumps({'choices': [event]})}\n\n" for event in events]
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, text="".join(lines)
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    played = Server()
    monkeypatch.setattr(OpenAiServer, "start", lambda _: played.happened.append("started"))
    monkeypatch.setattr(OpenAiServer, "await_ready", lambda _: True)
    monkeypatch.setattr(OpenAiServer, "close", lambda _: played.happened.append("closed"))
    yield played
    assert played.happened == ["started", "closed"]


def ask(prompt_tokens: int, new_tokens: int, schema: Any = None) -> Request:
    sampling = SamplingParams(0.5, 0.9, new_tokens, 7, 1.05)
    ids = tuple(range(prompt_tokens))
    return Request("r", (Message("user", "hi"),), ids, sampling, schema)


def speak(server: Server, request: Request, *, whole: bool = False) -> tuple[str, str]:
    """Start an engine and ask it; return what it says of itself, and its answer."""

    async def run() -> tuple[str, str]:
        engine = ServedModel(ModelConfig(model="/m"), transport=httpx.MockTransport(server))
        try:
            told = await engine.start()
            if whole:
                return told, (await engine.generate(request)).text
            return told, "".join([delta.text async for delta in engine.stream(request)])
        finally:
            await engine.close()

    return asyncio.run(run())


def test_it_is_asked_with_token_ids_and_answers_in_pieces(server: Server) -> None:
    told, answer = speak(server, ask(3, 40))
    assert told.startswith(f"vLLM 0.32.0, context {CONTEXT}, up in")
    assert answer == "Good day."
    (body,) = server.bodies
    assert body["prompt"] == [0, 1, 2] and "messages" not in body
    assert (body["max_tokens"], body["seed"], body["repetition_penalty"]) == (40, 7, 1.05)
    assert body["skip_special_tokens"] is True


def test_a_whole_answer_follows_its_schema(server: Server) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert speak(server, ask(3, 40, schema), whole=True)[1] == '{"name": "Ann"}'
    (body,) = server.bodies
    assert body["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(("prompt", "given"), [(60, 40), (70, 30), (75, 25)])
def test_an_answer_takes_what_the_context_leaves(prompt: int, given: int, server: Server) -> None:
    speak(server, ask(prompt, 60))
    assert server.bodies[0]["max_tokens"] == given


def test_a_prompt_that_leaves_too_little_is_too_long(server: Server) -> None:
    with pytest.raises(PromptTooLong, match="76 tokens leave 24 of 100"):
        speak(server, ask(76, 60))
    assert not server.bodies


def test_a_server_that_died_says_why(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_dead(_: OpenAiServer) -> None:
        raise EngineError("the server of /m ended (exit code -9)")

    monkeypatch.setattr(OpenAiServer, "check_alive", find_dead)
    server.breaks = True
    with pytest.raises(EngineError, match="exit code -9"):
        speak(server, ask(3, 40))
