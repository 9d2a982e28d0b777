"""Streams answers from an OpenAI-compatible endpoint as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from infra.engines.endpoint import EndpointEngine
from infra.engines.endpoint_wire import EndpointSettings, Trouble, read_reply, write_payload
from infra.engines.protocol import Completion, Request
from infra.engines.streaming import Piece
from infra.errors import EngineError, PromptTooLong, RequestFailed
from infra.secrets import Secret

_CONNECT_TIMEOUT_S = 10.0
_LENGTH = ("length", "max_tokens")


class EndpointSpeaker:
    """Implements :class:`infra.engines.streaming.Speaker` over HTTP.

    A person waits and can ask again, so a stream is tried once; whole answers
    (:meth:`generate`) go through :class:`EndpointEngine` with its retries.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: Secret | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings, self._key = settings, key
        self._engine = EndpointEngine(settings, key, transport=transport)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.timeout_s, connect=_CONNECT_TIMEOUT_S),
            transport=transport,
        )

    async def start(self) -> str:
        """Tell what answers; the first request finds out whether it does."""
        return f"{self._settings.model} at {self._settings.base_url}"

    async def generate(self, request: Request) -> Completion:
        """Answer one request whole."""
        return await self._engine.generate(request)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Answer one request in pieces, as the server sends them."""
        payload = {**write_payload(self._settings, request, structured=False), "stream": True}
        headers = {"Authorization": f"Bearer {self._key.reveal()}"} if self._key else {}
        try:
            async with self._client.stream(
                "POST", self._settings.completions_url, json=payload, headers=headers
            ) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != 200 or not kind.startswith("text/event-stream"):
                    await response.aread()
                    yield self._read_whole(response)
                    return
                async for piece in self._read_events(response):
                    yield piece
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineError(
                f"{type(error).__name__}: {error} → check that the server at "
                f"{self._settings.base_url} is up"
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RequestFailed(f"the answer broke off ({type(error).__name__}: {error})") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.close()
        await self._client.aclose()

    def _read_whole(self, response: httpx.Response) -> Piece:
        """Read a refusal, or the whole answer of a server that does not stream."""
        outcome = read_reply(self._settings, response, hide=self._hide)
        if isinstance(outcome, Completion):
            return Piece(outcome.text, outcome.finish_reason)
        raise _make_error(outcome)

    async def _read_events(self, response: httpx.Response) -> AsyncIterator[Piece]:
        async for line in response.aiter_lines():
            field, _, value = line.partition(":")
            if field != "data" or not value.strip():
                continue  # a comment, another field, or the blank line between events
            if value.strip() == "[DONE]":
                return
            yield self._read_event(value)

    def _read_event(self, value: str) -> Piece:
        try:
            event: Any = json.loads(value)
            if event.get("error"):
                said = self._hide(json.dumps(event["error"], ensure_ascii=False))
                raise RequestFailed(f"the server broke off the answer: {said[:300]}")
            choices = event.get("choices") or []
            if not choices:
                return Piece("")  # usage, which some servers send last
            text = (choices[0].get("delta") or {}).get("content") or ""
            reason = choices[0].get("finish_reason")
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise RequestFailed(
                f"the server's stream cannot be read ({type(error).__name__})"
            ) from None
        return Piece(str(text), "length" if reason in _LENGTH else reason)

    def _hide(self, text: str) -> str:
        return self._key.hide_in(text) if self._key is not None else text


def _make_error(trouble: Trouble) -> RequestFailed:
    if trouble.remedy == "give_up_prompt":
        return PromptTooLong(trouble.message)
    return RequestFailed(trouble.message, fatal=trouble.remedy == "give_up_all")
