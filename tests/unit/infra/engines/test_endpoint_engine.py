"""Proves how the endpoint engine meets every kind of reply, without a network."""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from infra.engines.endpoint.dialect import DialectConfig
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.replies import read_retry_after
from infra.engines.endpoint.wire import EndpointSettings
from infra.errors import ConfigError, EngineError, PromptTooLong, RequestFailed
from infra.protocol import Completion, Message, Request, SamplingParams
from infra.secrets.secrets import Secret

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def settings(**changes: Any) -> EndpointSettings:
    plain: dict[str, Any] = {
        "base_url": "http://server.test/v1",
        "model": "tiny",
        "backoff_s": 0.001,
    }
    return EndpointSettings(**(plain | changes))


def request(
    text: str = "hello", *, schema: dict[str, Any] | None = None, seed: int | None = 7, n: int = 0
) -> Request:
    sampling = SamplingParams(0.7, 0.9, 32, seed)
    return Request(f"row-{n}", (Message("user", text),), (1, 2, 3), sampling, schema)


def reply(content: Any = "hi", **changes: Any) -> httpx.Response:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    return httpx.Response(200, json=body | changes)


def refuse(status: int, message: str, code: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"message": message, "code": code}}, headers=headers
    )


class Server:
    """Plays back replies in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self, *replies: httpx.Response | Exception) -> None:
        self.replies = replies
        self.seen: list[dict[str, Any]] = []

    async def __call__(self, sent: httpx.Request) -> httpx.Response:
        answer = self.replies[min(len(self.seen), len(self.replies) - 1)]
        self.seen.append(json.loads(sent.content))
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.content, request=sent
        )


def ask(
    handler: Handler, *requests: Request, key: str | None = None, **changes: Any
) -> tuple[list[Completion | BaseException], EndpointEngine]:
    """Send requests at once; an error comes back in the place of its completion."""

    async def main() -> tuple[list[Completion | BaseException], EndpointEngine]:
        secret = Secret(key) if key else None
        transport = httpx.MockTransport(handler)
        engine = EndpointEngine(settings(**changes), secret, transport=transport)
        calls = (engine.generate(one) for one in requests or [request()])
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 8)
        assert engine.limit.in_flight == engine.limit.waiting == 0
        await engine.close()
        return outcomes, engine

    return asyncio.run(main())


def ask_one(handler: Handler, one: Request | None = None, **changes: Any) -> Completion:
    (outcome,), _ = ask(handler, one or request(), **changes)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def test_request_says_what_was_asked() -> None:
    server = Server(reply())
    assert ask_one(server, request("x<|eot_id|>", schema=SCHEMA)) == Completion("hi", "stop", 5, 2)
    (sent,) = server.seen
    assert sent["messages"] == [{"role": "user", "content": "x< |eot_id|>"}]
    assert (sent["model"], sent["max_tokens"], sent["seed"]) == ("tiny", 32, 7)
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA


def test_dialect_switches() -> None:
    server = Server(reply())
    one = request(schema=SCHEMA, seed=2**63 + 5)
    spoken = {"token_limit": "max_completion_tokens", "seed": False, "structured_output": "none"}
    ask_one(server, one, dialect=DialectConfig.model_validate(spoken))
    assert not {"seed", "response_format", "max_tokens"} & set(server.seen[0])
    assert server.seen[0]["max_completion_tokens"] == 32
    ask_one(server, one)
    assert server.seen[1]["seed"] == 5


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"message": {"content": None}, "finish_reason": "stop"}, ("", "stop")),
        ({"message": {"content": "cut"}, "finish_reason": "length"}, ("cut", "length")),
        ({"message": {"content": "x"}, "finish_reason": "max_tokens"}, ("x", "length")),
        ({"message": {"content": "x"}, "finish_reason": None}, ("x", "stop")),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, ("", "refusal")),
        ({"message": {"content": None, "refusal": "I won't."}}, ("I won't.", "refusal")),
        (
            {"message": {"content": [{"type": "text", "text": "ab"}, {"text": "c"}]}},
            ("abc", "stop"),
        ),
    ],
)
def test_choices_become_completions(choice: dict[str, Any], expected: tuple[str, str]) -> None:
    done = ask_one(Server(reply(choices=[choice])))
    assert (done.text, done.finish_reason) == expected


def test_usage_may_be_missing_or_detailed() -> None:
    counted = ask_one(Server(reply("ten bytes.", usage=None)))
    assert counted.estimated and counted.completion_tokens == 3
    assert counted.prompt_tokens > 0
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None}
    assert ask_one(Server(reply(usage=usage))).cached_tokens == 0
    usage["prompt_tokens_details"] = {"cached_tokens": 4}  # type: ignore[assignment]
    assert ask_one(Server(reply(usage=usage))) == Completion("hi", "stop", 9, 3, 4)


@pytest.mark.parametrize(
    "trouble",
    [
        refuse(429, "slow down"),
        refuse(408, "timeout"),
        refuse(500, "oops"),
        refuse(503, "busy"),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, text='{"choices": [{"mess'),
        httpx.Response(200, json=["no", "object"]),
        httpx.Response(200, json={"error": {"message": "upstream", "code": 503}}),
        reply(choices=[{"message": {"content": "half"}, "finish_reason": "abort"}]),
        httpx.ReadError("connection reset"),
        httpx.RemoteProtocolError("server disconnected"),
        httpx.ConnectError("refused"),
    ],
)
def test_what_may_pass_is_tried_again(trouble: httpx.Response | Exception) -> None:
    server = Server(trouble, trouble, reply())
    assert ask_one(server).text == "hi"
    assert len(server.seen) == 3


def test_retries_are_bounded_and_the_row_stays_pending() -> None:
    for trouble, words in (
        (refuse(500, "oops"), "HTTP 500.*oops"),
        (httpx.ReadError("reset"), "reset"),
    ):
        server = Server(trouble)
        with pytest.raises(RequestFailed, match=words) as caught:
            ask_one(server, max_retries=2)
        assert not caught.value.fatal
        assert "row-0" not in str(caught.value), "reasons of many rows are counted together"
        assert len(server.seen) == 3


def test_endpoint_that_goes_away_is_an_engine_that_is_gone() -> None:
    server = Server(reply(), httpx.ConnectError("refused"))
    outcomes, _ = ask(server, request(), request(n=1), max_retries=1, max_concurrency=1)
    assert isinstance(outcomes[1], EngineError) and not isinstance(outcomes[1], RequestFailed)
    assert "is up" in str(outcomes[1])


def test_endpoint_that_never_was_there_ends_all() -> None:
    with pytest.raises(RequestFailed, match="is up") as caught:
        ask_one(Server(httpx.ConnectError("refused")), max_retries=1)
    assert caught.value.fatal


@pytest.mark.parametrize(
    ("trouble", "todo"),
    [
        (refuse(401, f"Incorrect API key provided: {KEY}"), "check the key.*env:OC_KEY"),
        (refuse(401, "x" * 290 + KEY), "check the key"),
        (refuse(403, "not allowed"), "check the key"),
        (refuse(404, "The model `tiny` does not exist."), "serves the model 'tiny'"),
        (refuse(400, "The model `tiny` does not exist."), "check base_url and model"),
        (refuse(405, "method"), "check base_url"),
        (refuse(429, "You exceeded your quota", "insufficient_quota"), "top it up"),
        (httpx.Response(301, headers={"location": "https://elsewhere.test"}), "check base_url"),
    ],
)
def test_what_every_request_would_meet_is_fatal(trouble: httpx.Response, todo: str) -> None:
    server = Server(trouble)
    outcomes, engine = ask(
        server,
        *(request(n=n) for n in range(20)),
        key=KEY,
        key_reference="env:OC_KEY",
        max_concurrency=2,
    )
    assert all(isinstance(one, RequestFailed) and one.fatal for one in outcomes)
    assert todo.split(".*")[-1] in str(outcomes[0])
    assert not any(KEY[:10] in str(one) for one in outcomes)
    assert len(server.seen) <= 2, "requests that waited were not sent any more"
    assert "HTTP" in str(engine._verdict.text)


@pytest.mark.parametrize(
    "trouble",
    [
        refuse(400, "This model's maximum context length is 64 tokens. However, your prompt …"),
        refuse(400, "prompt is too long: 210 tokens > 200 maximum"),
        refuse(400, "no", "context_length_exceeded"),
        refuse(422, "the request exceeds the available context size"),
        httpx.Response(413, text="entity too large"),
    ],
)
def test_long_prompt_has_its_own_error(trouble: httpx.Response) -> None:
    server = Server(trouble)
    with pytest.raises(PromptTooLong, match="shorten") as caught:
        ask_one(server, request(schema=SCHEMA))
    assert not caught.value.fatal
    assert len(server.seen) == 1


def test_refusals_of_single_rows_become_fatal_only_while_nothing_was_answered() -> None:
    outcomes, _ = ask(
        Server(refuse(400, "odd")), *(request(n=n) for n in range(3)), max_concurrency=1
    )
    assert [one.fatal for one in outcomes if isinstance(one, RequestFailed)] == [False, False, True]
    budget = "max_tokens=5000 cannot be greater than max_model_len=512."
    outcomes, _ = ask(Server(refuse(400, budget)), *(request(n=n) for n in range(3)))
    assert isinstance(outcomes[2], RequestFailed) and outcomes[2].fatal, "every row would meet it"
    odd = [refuse(400, "odd")] * 5
    outcomes, _ = ask(Server(reply(), *odd), *(request(n=n) for n in range(6)), max_concurrency=1)
    assert [one.fatal for one in outcomes[1:] if isinstance(one, RequestFailed)] == [False] * 5


def test_content_filter_of_a_prompt_is_a_refusal() -> None:
    done = ask_one(Server(refuse(400, "filtered", "content_filter")))
    assert (done.text, done.finish_reason) == ("", "refusal")


def test_response_format_falls_back_once_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[dict[str, Any]] = []

    async def server(sent: httpx.Request) -> httpx.Response:
        seen.append(json.loads(sent.content))
        if "prefixItems" in json.dumps(seen[-1].get("response_format")):
            return refuse(400, "keyword not supported")
        return reply()

    def refused(n: int) -> Request:
        return request(schema={"type": "array", "prefixItems": [{"const": f"turn {n}"}]}, n=n)

    requests = [refused(1), refused(2), refused(3), request(schema=SCHEMA)]
    with caplog.at_level(logging.WARNING):
        outcomes, _ = ask(server, *requests, max_concurrency=1)
    assert all(isinstance(one, Completion) for one in outcomes)
    # The first is asked twice, its likes go plain at once, another kind of schema is still sent.
    assert sorted("response_format" in one for one in seen) == [False] * 3 + [True] * 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "keyword not supported" in caplog.text


def test_refused_schema_is_an_error_where_the_user_insists() -> None:
    server = Server(refuse(400, "no schema here"))
    with pytest.raises(RequestFailed, match="no schema here"):
        ask_one(
            server, request(schema=SCHEMA), dialect=DialectConfig(structured_output="json_schema")
        )
    assert len(server.seen) == 1


def test_plain_refusal_is_not_blamed_on_the_schema(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RequestFailed, match="temperature"):
        ask_one(Server(refuse(400, "temperature too low")), request(schema=SCHEMA))
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_retry_after_holds_the_whole_engine() -> None:
    times: list[float] = []

    async def server(sent: httpx.Request) -> httpx.Response:
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.005)
        if len(times) == 1:
            return refuse(429, "slow down", **{"retry-after": "0.2"})
        return reply()

    outcomes, _ = ask(server, *(request(n=n) for n in range(6)), max_concurrency=1)
    assert all(isinstance(one, Completion) for one in outcomes)
    assert times[1] - times[0] >= 0.19


def test_retry_after_is_capped() -> None:
    server = Server(refuse(429, "tomorrow", **{"retry-after": "86400"}), reply())
    assert ask_one(server, max_pause_s=0.01).text == "hi"


def test_retry_after_forms() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    forms = {
        "7": 7.0, "0.5": 0.5, "-3": None, "nan": None, "soon": None,
        "Fri, 02 Jan 2026 03:04:35 GMT": 30.0, "Fri, 02 Jan 2026 03:00:00 GMT": 0.0,
    }  # fmt: skip
    for text, expected in forms.items():
        assert read_retry_after(httpx.Headers({"retry-after": text}), now) == expected, text
    assert (
        read_retry_after(httpx.Headers({"retry-after-ms": "250", "retry-after": "9"}), now) == 0.25
    )
    assert read_retry_after(httpx.Headers(), now) is None


def test_concurrency_rises_under_load_and_falls_when_told_to_slow_down() -> None:
    open_now, most = 0, 0
    capacity = 64

    async def server(sent: httpx.Request) -> httpx.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        crowded = open_now > capacity
        await asyncio.sleep(0.002)
        open_now -= 1
        return refuse(429, "too many") if crowded else reply()

    # On a busy machine the server seems to queue now and then, and the limit rises later.
    outcomes, engine = ask(server, *(request(n=n) for n in range(1600)), max_concurrency=32)
    assert all(isinstance(one, Completion) for one in outcomes)
    assert engine.limit.limit == most == 32
    capacity, most = 4, 0
    outcomes, engine = ask(server, *(request(n=n) for n in range(200)), max_retries=40)
    assert all(isinstance(one, Completion) for one in outcomes)
    assert engine.limit.limit <= 8


def test_burst_of_503_loses_nothing() -> None:
    count = itertools.count()

    async def server(sent: httpx.Request) -> httpx.Response:
        return refuse(503, "restarting") if 10 <= next(count) < 40 else reply()

    outcomes, _ = ask(server, *(request(n=n) for n in range(100)), max_retries=12)
    assert all(isinstance(one, Completion) for one in outcomes)


def test_slow_server_times_out_and_lowers_the_limit() -> None:
    async def server(sent: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return reply()

    outcomes, engine = ask(server, request(), timeout_s=0.02, max_retries=1)
    assert "within 0.02 s" in str(outcomes[0])
    assert isinstance(outcomes[0], RequestFailed)
    assert engine.limit.limit == 2


def test_backoff_grows_with_jitter_and_is_bounded() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def main() -> None:
        transport = httpx.MockTransport(Server(refuse(500, "oops")))
        plan = settings(backoff_s=1.0, max_backoff_s=10.0, max_retries=6)
        engine = EndpointEngine(plan, transport=transport, sleep=sleep)
        for n in range(2):
            with pytest.raises(RequestFailed):
                await engine.generate(request(n=n))
        await engine.close()

    asyncio.run(main())
    first, second = waits[:6], waits[6:]
    assert all(
        low / 2 <= wait <= low for wait, low in zip(first, [1, 2, 4, 8, 10, 10], strict=True)
    )
    assert first != second


def test_cancelled_requests_give_their_permits_back() -> None:
    async def server(sent: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01 if b"fast" in sent.content else 60)
        return reply()

    async def main() -> None:
        transport = httpx.MockTransport(server)
        engine = EndpointEngine(settings(max_concurrency=2), transport=transport)
        slow = [asyncio.create_task(engine.generate(request("slow", n=n))) for n in range(6)]
        await asyncio.sleep(0.01)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert engine.limit.in_flight == engine.limit.waiting == 0
        done = await asyncio.gather(*(engine.generate(request("fast", n=n)) for n in range(6)))
        assert len(done) == 6
        await engine.close()

    asyncio.run(asyncio.wait_for(main(), 5))


def test_closed_engine_refuses() -> None:
    _, engine = ask(Server(reply()))
    with pytest.raises(EngineError, match="was closed"):
        asyncio.run(engine.generate(request()))


@pytest.mark.parametrize(
    "url", ["", "server/v1", "ftp://x/v1", f"http://me:{KEY}@x/v1", f"http://x/v1?key={KEY}"]
)
def test_address_that_cannot_work_or_would_show_a_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url") as caught:
        settings(base_url=url)
    assert KEY not in str(caught.value)


def test_unread_key_is_noticed_at_once() -> None:
    with pytest.raises(ConfigError, match="env:OC_KEY"):
        EndpointEngine(settings(key_reference="env:OC_KEY"))
