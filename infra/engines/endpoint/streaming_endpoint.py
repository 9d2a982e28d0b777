"""Streams answers from an OpenAI-compatible endpoint as server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

import httpx

from infra.engines.endpoint.connection import (
    SecretHeaders,
    describe_transport_error,
    list_plain_headers,
    read_bounded,
)
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.replies import (
    decode_text,
    parse_json,
    read_error,
    read_finish,
    read_parts,
    shorten,
)
from infra.engines.endpoint.wire import EndpointSettings, Trouble, read_body, write_payload
from infra.errors import EngineError, PromptTooLong, RequestFailed
from infra.protocol import Completion, Delta, Request
from infra.secrets.secrets import Secret

_CONNECT_TIMEOUT_S = 10.0
_END_S = 0.5
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MOST_LINE_BYTES = 16 * 2**20
_MOST_SWITCHES = 12


class StreamingEndpoint:
    """Streaming engine over HTTP.

    A person waits and can ask again, so a stream is tried once, and again only as a refusal says
    that the server wants to be asked otherwise; whole answers (:meth:`generate`) go through
    :class:`EndpointEngine` with its retries.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: Secret | None = None,
        headers: Mapping[str, Secret] | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._auth = SecretHeaders(key, headers or {})
        self._engine = EndpointEngine(settings, key, headers, transport=transport)
        self._client = httpx.AsyncClient(
            auth=self._auth,
            headers=list_plain_headers(settings),
            timeout=httpx.Timeout(settings.timeout_s, connect=_CONNECT_TIMEOUT_S),
            transport=transport,
        )

    async def start(self) -> str:
        """Tell what answers; the first request finds out whether it does."""
        return f"{self._settings.model} at {self._settings.address}"

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole."""
        return await self._engine.generate(request)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Answer one request in deltas, as the server sends them."""
        for _ in range(_MOST_SWITCHES):
            payload = write_payload(self._settings, request, dialect=self._engine.dialect)
            if "stream" in payload:
                payload["stream"] = True
            refused: Trouble | None = None
            try:
                async with aclosing(self._ask(payload)) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, Trouble):
                            refused = delta
                        else:
                            yield delta
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                said = describe_transport_error(self._settings, error).message
                raise EngineError(said) from None
            except httpx.HTTPError as error:
                said = f"{type(error).__name__}: {error}".rstrip(": ")
                raise RequestFailed(f"the answer broke off ({said})") from None
            if refused is None:
                return
            complaint = refused.complaint
            if complaint is None or not self._engine.learn(complaint, payload):
                raise _make_error(refused)
        raise _make_error(refused)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.close()
        await self._client.aclose()

    async def _ask(self, payload: Mapping[str, Any]) -> AsyncGenerator[Delta | Trouble]:
        async with self._client.stream(
            "POST",
            self._settings.completions_url,
            params=self._settings.query or None,
            content=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        ) as response:
            kind = response.headers.get("content-type", "")
            if response.status_code != 200 or not kind.startswith("text/event-stream"):
                yield self._read_whole(response, await read_bounded(response, _MOST_LINE_BYTES))
                return
            heard = False
            async with aclosing(self._read_events(response)) as deltas:
                async for delta in deltas:
                    heard = True
                    yield delta
            if not heard:
                raise RequestFailed(
                    f"the stream from {self._settings.completions_url} held no answer at all"
                )

    def _read_whole(self, response: httpx.Response, content: bytes) -> Delta | Trouble:
        """Read a refusal, or the whole answer of a server that does not stream."""
        outcome = read_body(
            self._settings,
            response.status_code,
            content,
            response.headers.get("content-type", ""),
            hide=self._auth.hide_in,
        )
        if isinstance(outcome, Completion):
            return Delta(outcome.text, outcome.finish_reason, outcome.reasoning)
        return outcome

    async def _read_events(self, response: httpx.Response) -> AsyncGenerator[Delta]:
        async with aclosing(split_lines(response.aiter_bytes())) as lines:
            async for line in lines:
                field, _, value = line.partition(b":")
                value = value.strip()
                if field != b"data" or not value:
                    continue  # a comment, another field, or the blank line between events
                if value == b"[DONE]":
                    await _read_out(lines)
                    return
                yield self._read_event(value)

    def _read_event(self, value: bytes) -> Delta:
        event = parse_json(value)
        if not isinstance(event, Mapping):
            shown = shorten(self._auth.hide_in(decode_text(value)))
            raise RequestFailed(f"the server's stream cannot be read: {shown}")
        error = read_error(event)
        if error is not None:
            said = shorten(self._auth.hide_in(error.text))
            raise RequestFailed(f"the server broke off the answer: {said}")
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
            return Delta("")  # usage, which some servers send last
        delta = choices[0].get("delta", {"content": choices[0].get("text")})
        text, reasoning = read_parts(delta) if isinstance(delta, Mapping) else ("", "")
        return Delta(text, read_finish(choices[0].get("finish_reason")), reasoning)


async def _read_out(lines: AsyncIterator[bytes]) -> None:
    """Read what a stream still holds, if it ends soon: its connection then serves the next one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            async for _ in lines:
                pass


async def split_lines(blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Cut a stream at the line ends of its protocol, which are none of Unicode's others.

    Raises :class:`RequestFailed` for a line that has no end.
    """
    held = b""
    async for block in blocks:
        held += block
        start = 0
        for found in _LINE_END.finditer(held):
            if found.group() == b"\r" and found.end() == len(held):
                break  # its other half may be in the next block
            yield held[start : found.start()]
            start = found.end()
        held = held[start:]
        if len(held) > _MOST_LINE_BYTES:
            raise RequestFailed("the server's stream cannot be read: a line has no end")
    if held:
        yield held.rstrip(b"\r")


def _make_error(trouble: Trouble | None) -> RequestFailed:
    if trouble is None:
        return RequestFailed("the server wants to be asked in a way that was not found")
    if trouble.remedy == "give_up_prompt":
        return PromptTooLong(trouble.message)
    return RequestFailed(trouble.message, fatal=trouble.remedy == "give_up_all")
