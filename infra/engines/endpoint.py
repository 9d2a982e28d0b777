"""Generates with any OpenAI-compatible endpoint, as fast as it can take and no faster.

One failure, one owner: what passes by itself (429, 5xx, timeouts, lost connections, broken
bodies) is retried here, a bounded number of times with jittered backoff; what is left becomes

* :class:`PromptTooLong` when this prompt can never fit,
* :class:`RequestFailed` for this row, ``fatal`` when every other row would fail as well,
* :class:`EngineError` when the endpoint cannot be reached at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NoReturn

import httpx

from infra.engines.concurrency import AdaptiveLimit
from infra.engines.endpoint_wire import EndpointSettings, Trouble, read_reply, write_payload
from infra.engines.protocol import Completion, Request
from infra.errors import ConfigError, EngineError, Problem, PromptTooLong, RequestFailed
from infra.secrets import Secret

_LOG = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 10.0
# A 400 may be about one row's content or about every request. Until an answer has arrived, so
# many rows may be refused before the endpoint is held to refuse them all.
_REFUSALS_BEFORE_FATAL = 3


class EndpointEngine:
    """Implements the :class:`infra.engines.protocol.Engine` protocol over HTTP.

    Args:
        settings: Address, model and bounds.
        key: The key, resolved by the driver with :func:`infra.secrets.read_secret`.
        transport: Replaces the network, as in ``httpx.AsyncClient``.
        sleep: Replaces ``asyncio.sleep`` between retries.
        clock: Replaces ``time.monotonic`` in the concurrency limit.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: Secret | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if settings.key_reference is not None and key is None:
            raise ConfigError(
                Problem(settings.key_reference, "the key was not read", "read_secret() it first")
            )
        self.settings = settings
        self.limit = AdaptiveLimit(settings.max_concurrency, clock=clock)
        self._key = key
        self._transport = transport
        self._sleep = sleep
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._verdict: str | None = None
        self._answered = self._refused = 0
        self._plain_shapes: set[frozenset[str]] = set()

    def __repr__(self) -> str:
        return f"EndpointEngine({self.settings!r}, limit={self.limit.limit})"

    async def generate(self, request: Request) -> Completion:
        """Answer one request, retrying what may pass; see the module for what it raises."""
        shape = _read_keywords(request.schema) if request.schema is not None else frozenset()
        trouble: Trouble | httpx.TransportError
        for attempt in range(self.settings.max_retries + 1):
            outcome = await self._try_structured_then_plain(request, shape)
            if isinstance(outcome, Completion):
                self._answered += 1
                return outcome
            trouble = outcome
            if isinstance(trouble, Trouble) and trouble.remedy.startswith("give_up"):
                break
            if attempt < self.settings.max_retries:
                _LOG.debug("request %s: %s", request.request_id, _describe(trouble))
                await self._sleep(self._plan_wait(request, attempt))
        self._raise(trouble, request)

    async def close(self) -> None:
        """Close all connections; open requests fail, later ones are refused."""
        self._closed = True
        if self._client is not None:
            await self._client.aclose()

    async def _try_structured_then_plain(
        self, request: Request, shape: frozenset[str]
    ) -> Completion | Trouble | httpx.TransportError:
        mode = self.settings.structured
        structured = bool(shape) and mode != "never" and shape not in self._plain_shapes
        outcome = await self._attempt(request, structured=structured)
        if not (structured and mode == "auto" and _is_refused(outcome)):
            return outcome
        # The server may know response_format, yet not every keyword of JSON schema: what is
        # remembered is the set of keywords, so that simpler schemas go on being sent.
        plain = await self._attempt(request, structured=False)
        if not isinstance(plain, Completion):
            return outcome if _is_refused(plain) else plain
        if shape not in self._plain_shapes:
            self._plain_shapes.add(shape)
            _LOG.warning(
                "%s refuses this response_format; schemas with the same keywords go on as plain"
                " requests, their answers are still validated. It said: %s",
                self.settings.base_url,
                _describe(outcome),
            )
        return plain

    async def _attempt(
        self, request: Request, *, structured: bool
    ) -> Completion | Trouble | httpx.TransportError:
        payload = write_payload(self.settings, request, structured=structured)
        async with self.limit.slot() as permit:
            client = self._open_client()
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    response = await client.post(self.settings.completions_url, json=payload)
            except (TimeoutError, httpx.ReadTimeout):
                self._lower_limit(self.limit.record_overload(permit))
                return Trouble("retry", f"no answer within {self.settings.timeout_s:g} s")
            except (httpx.TransportError, httpx.DecodingError) as error:
                if isinstance(error, httpx.TransportError):
                    return error
                return Trouble("retry", f"the reply cannot be decoded ({error})")
            outcome = read_reply(self.settings, response, hide=self._hide)
            if isinstance(outcome, Completion):
                self.limit.record_success(permit, tokens=outcome.completion_tokens)
                return outcome
            if outcome.remedy == "back_off":
                self._lower_limit(self.limit.record_overload(permit))
            if outcome.retry_after_s is not None:
                self.limit.pause(min(outcome.retry_after_s, self.settings.max_pause_s))
            return outcome

    def _open_client(self) -> httpx.AsyncClient:
        if self._closed:
            raise EngineError(f"the engine for {self.settings.base_url} was closed")
        if self._verdict is not None:
            raise RequestFailed(self._verdict, fatal=True)
        if self._client is None:
            most = self.settings.max_concurrency
            self._client = httpx.AsyncClient(
                auth=_BearerAuth(self._key) if self._key is not None else None,
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
                timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
                transport=self._transport,
            )
        return self._client

    def _lower_limit(self, lowered: bool) -> None:
        if lowered:
            _LOG.info(
                "%s is overloaded: at most %d requests open",
                self.settings.base_url,
                self.limit.limit,
            )

    def _plan_wait(self, request: Request, attempt: int) -> float:
        bound = min(self.settings.max_backoff_s, self.settings.backoff_s * 2.0**attempt)
        # Jitter without a random source: the spread between requests is all that matters.
        digest = hashlib.sha256(f"{request.request_id}/{attempt}".encode()).digest()
        return bound * (0.5 + int.from_bytes(digest[:4], "big") / 2**33)

    def _raise(self, outcome: Trouble | httpx.TransportError, request: Request) -> NoReturn:
        where = f"request {request.request_id}: {_describe(outcome)}"
        if not isinstance(outcome, Trouble):
            tried = f"{where}, {self.settings.max_retries + 1} times"
            if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
                raise EngineError(
                    f"{tried} → check that the server at {self.settings.base_url} is up"
                ) from None
            raise RequestFailed(tried) from None
        if outcome.remedy == "give_up_prompt":
            raise PromptTooLong(where)
        if outcome.remedy == "give_up_row" and not self._answered:
            self._refused += 1
            if self._refused >= _REFUSALS_BEFORE_FATAL:
                self._verdict = where
        if outcome.remedy == "give_up_all":
            self._verdict = where
        raise RequestFailed(where, fatal=self._verdict is not None)

    def _hide(self, text: str) -> str:
        return self._key.hide_in(text) if self._key is not None else text


class _BearerAuth(httpx.Auth):
    """Adds the key to each request when it is sent, so that no client default holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


def _is_refused(outcome: Completion | Trouble | httpx.TransportError) -> bool:
    return isinstance(outcome, Trouble) and outcome.remedy == "give_up_row"


def _describe(outcome: Trouble | httpx.TransportError | Completion) -> str:
    if isinstance(outcome, Trouble):
        return outcome.message
    return f"{type(outcome).__name__}: {outcome}"


def _read_keywords(schema: Mapping[str, Any]) -> frozenset[str]:
    """Collect a schema's keywords and types, leaving out what names and holds data."""
    found: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        if not isinstance(node, Mapping):
            return
        for keyword, value in node.items():
            found.add(keyword)
            if keyword == "type":
                found.update([value] if isinstance(value, str) else value)
            elif keyword in ("properties", "$defs", "definitions", "patternProperties"):
                visit(list(value.values()))
            elif keyword not in ("const", "enum", "default", "examples"):
                visit(value)

    visit(schema)
    return frozenset(found)
