"""Proves against a real odd server that each oddity is learnt, cleaned, or ends all early."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.cluster.ports import find_port
from infra.engines.border import clean_completion, describe_blank
from infra.engines.config import ModelConfig
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.opening import endpoint_settings, open_remote_engine
from infra.engines.streaming import StreamingThread, open_streaming_engine
from infra.errors import EngineError, Reject, RequestFailed
from infra.generation.asking import AskOptions, RowSession
from infra.protocol import Completion, Message, Request, SamplingParams
from tests.e2e.odd_endpoint import STREAMED, OddEndpoint, listen_silently, serve_oddities

SCHEMA = {
    "type": "object",
    "properties": {"Name": {"type": "string", "maxLength": 20}},
    "required": ["Name"],
}


@pytest.fixture
def server() -> Iterator[OddEndpoint]:
    with serve_oddities() as running:
        yield running


def config(address: str, model: str, **changes: Any) -> ModelConfig:
    plain: dict[str, Any] = {
        "engine": "endpoint", "model": model, "base_url": address, "patience_s": 1.0,
    }  # fmt: skip
    return ModelConfig.model_validate(plain | changes)


def request(n: int, schema: dict[str, Any] | None = None) -> Request:
    turns = (Message("system", "You are a baker."), Message("user", f"What is {n}?"))
    return Request(f"r-{n}", turns, None, SamplingParams(0.7, 0.9, 40, n), schema)


def ask(
    model: ModelConfig, count: int = 6, schema: dict[str, Any] | None = None
) -> tuple[list[Completion | BaseException], EndpointEngine]:
    async def main() -> tuple[list[Completion | BaseException], EndpointEngine]:
        engine: Any = open_remote_engine(model)()
        calls = (engine.generate(request(n, schema)) for n in range(count))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await engine.close()
        return outcomes, engine

    return asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(
    ("model", "learnt"),
    [
        ("plain", []),
        ("strict", ["max_completion_tokens", "temperature: false", "top_p: false"]),
        ("closed", ["seed: false", "top_p: false"]),
        ("without-system", ["system_role: user"]),
        ("parts", []),
    ],
)
def test_dialects_are_learnt_once_and_said_once(
    server: OddEndpoint, model: str, learnt: list[str]
) -> None:
    outcomes, engine = ask(config(server.address, model), count=20)
    assert all(isinstance(one, Completion) and one.text for one in outcomes)
    told = engine.facts().get("dialect", [])
    assert len(told) == len(learnt)
    for words, line in zip(learnt, told, strict=True):
        assert words in line
    assert len([note for note in engine.take_notes() if "dialect." in note]) == len(learnt)
    assert engine.take_notes() == []
    # Requests that were open when one of them learnt are asked again, later ones never twice.
    assert len(server.asked) <= 20 + 8 * len(learnt)


def test_a_server_without_schemas_is_asked_without(server: OddEndpoint) -> None:
    outcomes, engine = ask(config(server.address, "closed"), schema=SCHEMA)
    assert all(isinstance(one, Completion) and one.text for one in outcomes)
    assert "response_format" not in server.asked[-1]
    assert any("response_format" in line for line in engine.facts()["dialect"])


def test_dialect_knobs_are_sent(server: OddEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OC_ODD_KEY", "sk-odd-secret-7")
    dialect = {
        "headers": {"api-key": "env:OC_ODD_KEY", "X-Team": "poets"},
        "query": {"api-version": "2026-01-01"},
        "extra_body": {"reasoning_effort": "low"},
        "structured_output": "json_object",
        "path": "/deployments/four/chat/completions",
    }
    model = config(server.address, "plain", dialect=dialect)
    (done,), engine = ask(model, count=1, schema=SCHEMA)
    assert isinstance(done, Completion)
    assert server.queries == ["api-version=2026-01-01"]
    sent = {name.lower(): value for name, value in server.headers[0].items()}
    assert (sent["api-key"], sent["x-team"]) == ("sk-odd-secret-7", "poets")
    assert server.asked[0]["response_format"] == {"type": "json_object"}
    assert server.asked[0]["reasoning_effort"] == "low"
    assert "sk-odd" not in repr(engine) + repr(vars(engine)) + model.model_dump_json()


def test_missing_usage_is_estimated_and_said(server: OddEndpoint) -> None:
    outcomes, engine = ask(config(server.address, "uncounted"))
    for one in outcomes:
        assert isinstance(one, Completion) and one.estimated
        assert one.prompt_tokens > 5 and one.completion_tokens > 0
    assert engine.facts()["usage"].startswith("estimated")


def test_what_cannot_be_encoded_goes_and_nothing_else(server: OddEndpoint) -> None:
    outcomes, _ = ask(config(server.address, "dirty"))
    for one in outcomes:
        assert isinstance(one, Completion)
        text = clean_completion(one).text
        assert text.endswith(" \ufffd\u2028")
        assert not re.search("[\x00\ufeff\ud800-\udfff]", text)
        text.encode()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("page", r"HTTP 200 .*no chat completion.*\(text/html\).*It works!.*base_url"),
        ("lost-page", r"HTTP 404 .*It works!.*base_url"),
        ("broken", r"HTTP 500 .*an assertion of ours failed.*patience_s"),
        ("deep", r"HTTP 200 .*not a JSON object.*\[\[\["),
        ("half", r"HTTP 200 .*not a JSON object"),
        ("empty", r"HTTP 200 .*an empty body"),
        ("upstream", r"HTTP 529 .*the upstream is overloaded"),
        ("busy", r"HTTP 429 .*slow down.*patience_s"),
        ("locked", r"HTTP 401 .*no such key.*api_key"),
        ("no-choices", r"HTTP 200 .*without choices"),
        ("thinks-only", r"characters of reasoning and no text.*max_new_tokens"),
        ("calls-tools", r"held no text \(finish_reason tool_calls\)"),
    ],
)
def test_what_never_answers_ends_early_with_what_came(
    server: OddEndpoint, model: str, words: str
) -> None:
    began = time.monotonic()
    outcomes, engine = ask(config(server.address, model), count=12)
    assert time.monotonic() - began < 15
    last = outcomes[-1]
    assert isinstance(last, RequestFailed) and last.fatal
    assert re.search(f"(?s){words}", str(last)), str(last)
    assert "http://127.0.0.1:" in str(last) and len(str(last)) < 700
    assert len(server.asked) < 80
    if model == "busy":
        notes = engine.take_notes()
        assert any("retrying: HTTP 429" in note and "next try in" in note for note in notes)


def test_nobody_and_silence_end_early() -> None:
    began = time.monotonic()
    outcomes, _ = ask(config(f"http://127.0.0.1:{find_port()}/v1", "m"))
    assert time.monotonic() - began < 10
    assert all(isinstance(one, RequestFailed) and one.fatal for one in outcomes)
    assert re.search("nobody answers at http://127.0.0.1:.* is up", str(outcomes[0]))


def test_silence_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LATE_S", "_LOOK_TIMEOUT_S"):
        monkeypatch.setattr(f"infra.engines.endpoint.endpoint.{name}", 0.4)
    with listen_silently() as address:
        outcomes, _ = ask(config(address, "m", patience_s=0.5))
    assert all(isinstance(one, RequestFailed) and one.fatal for one in outcomes)
    assert "takes connections and answers nothing" in str(outcomes[0])


def test_a_blank_answer_is_one_reject_that_says_what_came(server: OddEndpoint) -> None:
    async def main() -> tuple[object, str]:
        engine = EndpointEngine(endpoint_settings(config(server.address, "thinks-only")))
        options = AskOptions(0.7, 0.9, 40, 2, 0)
        session = RowSession("k", engine, None, options)
        verdict = await session.ask([Message("user", "hi")], lambda done: Reject("empty"))
        await engine.close()
        return verdict, session.last_text

    verdict, shown = asyncio.run(main())
    assert isinstance(verdict, Reject) and verdict.reason == "truncated"
    assert "no text came: finish_reason length" in shown
    assert describe_blank(Completion("text", "stop", 1, 1)) == ""


def test_streams_come_whole(server: OddEndpoint) -> None:
    for model in ("plain", "strict", "without-system"):
        with StreamingThread(open_streaming_engine(config(server.address, model))) as thread:
            thread.start()
            deltas = list(thread.stream(request(1)))
        assert "".join(delta.text for delta in deltas) == STREAMED
        assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize("model", ["page", "empty", "deep", "half", "broken", "no-choices"])
def test_chat_names_what_came(server: OddEndpoint, model: str) -> None:
    with StreamingThread(open_streaming_engine(config(server.address, model))) as thread:
        thread.start()
        with pytest.raises(EngineError, match=r"HTTP \d+ from http://127"):
            list(thread.stream(request(1)))
