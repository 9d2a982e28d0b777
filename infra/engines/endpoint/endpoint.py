"""Generates with any OpenAI-compatible endpoint, as fast as it can take and no faster.

One failure, one owner: what passes by itself (429, 5xx, timeouts, lost connections, broken
bodies) is retried here, a bounded number of times with jittered backoff; what is left becomes

* :class:`PromptTooLong` when this prompt can never fit,
* :class:`RequestFailed` for this row, ``fatal`` when every other row would fail as well,
* :class:`EngineError` when an endpoint that had answered cannot be reached any more.

An endpoint that never answered is given up early (:mod:`infra.engines.endpoint.patience`). A
refusal that is a matter of dialect changes the dialect for all further requests, each change once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import httpx

from infra.engines.batch.allowance import Claim
from infra.engines.endpoint.concurrency import AdaptiveLimit, Permit
from infra.engines.endpoint.connection import (
    SecretHeaders,
    describe_transport_error,
    list_plain_headers,
    read_bounded,
)
from infra.engines.endpoint.dialect import Dialect, Structure, begin_dialect
from infra.engines.endpoint.dialect_learning import Complaint, learn
from infra.engines.endpoint.patience import Patience, Verdict
from infra.engines.endpoint.replies import read_retry_after
from infra.engines.endpoint.schema_shapes import list_weaker, read_keywords
from infra.engines.endpoint.usage_counting import UsageCounter
from infra.engines.endpoint.wire import EndpointSettings, Trouble, read_body, write_payload
from infra.errors import ConfigError, EngineError, Problem, PromptTooLong, RequestFailed
from infra.protocol import Completion, Request
from infra.secrets.secrets import Secret

_LOG = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 10.0
# A 400 may be about one row's content or about every request. Until an answer has arrived, so
# many rows may be refused before the endpoint is held to refuse them all.
_REFUSALS_BEFORE_FATAL = 3
_MOST_SWITCHES = 12
_MOST_BODY_BYTES = 64 * 2**20
_NOTE_EVERY_S = 10.0
_LATE_S = 15.0
_LOOK_TIMEOUT_S = 10.0


class EndpointEngine:
    """An :class:`infra.protocol.Engine` over HTTP.

    Args:
        settings: Address, model and bounds.
        key: The key, resolved by the driver with :func:`infra.secrets.secrets.read_secret`.
        headers: The secret values of ``dialect.headers``, resolved like the key.
        transport: Replaces the network, as in ``httpx.AsyncClient``.
        sleep: Replaces ``asyncio.sleep`` between retries.
        clock: Replaces ``time.monotonic``.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: Secret | None = None,
        headers: Mapping[str, Secret] | None = None,
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
        self.dialect = begin_dialect(settings.dialect)
        self._auth = SecretHeaders(key, headers or {})
        self._transport, self._sleep, self._clock = transport, sleep, clock
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._verdict = Verdict()
        self._patience = Patience(settings.patience_s, clock)
        self._watch: asyncio.Task[None] | None = None
        self._refused = 0
        self._usage = UsageCounter(settings.model)
        self._estimated = False
        self._structures: dict[frozenset[str], Structure] = {}
        self._tried = {f"token_limit={self.dialect.token_limit}"}
        self._changes: list[str] = []
        self._notes: list[str] = []
        self._noted: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"EndpointEngine({self.settings!r}, limit={self.limit.limit})"

    async def generate(self, request: Request) -> Completion:
        """Answer one request, retrying what may pass; see the module for what it raises."""
        if self._patience.answered:
            return await self._persist(request)
        self._patience.note_request()
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._await_first_answer())
        return await self._verdict.race(self._persist(request))

    async def close(self) -> None:
        """Close all connections; open requests fail, later ones are refused."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._client is not None:
            await self._client.aclose()

    def take_notes(self) -> list[str]:
        """Return what people should hear, once."""
        notes, self._notes = self._notes, []
        return notes

    def facts(self) -> dict[str, Any]:
        """Return what was learnt of the endpoint, for the manifest of what it made."""
        found: dict[str, Any] = {}
        if self._changes:
            found["dialect"] = list(self._changes)
        if self._estimated:
            found["usage"] = f"estimated: {self._usage.method}"
        return found

    def learn(self, complaint: Complaint, payload: Mapping[str, Any]) -> bool:
        """Change the dialect as a refusal suggests; false if it says nothing new about it."""
        switch = learn(self.settings.dialect, self.dialect, complaint, payload)
        if switch is None or switch.name in self._tried:
            return False
        self._tried.add(switch.name)
        self.dialect = switch.dialect
        self._tell_change(switch.says)
        return True

    def choose_structure(self, request: Request) -> Structure:
        """Say how a request's schema is asked for, by what like schemas have met."""
        if request.schema is None:
            return "none"
        wanted = self.settings.dialect.structured_output
        if wanted != "auto":
            return wanted
        return self._structures.get(read_keywords(request.schema), "json_schema")

    def complete(self, request: Request, completion: Completion) -> Completion:
        """Count what the endpoint did not."""
        if completion.prompt_tokens and not completion.estimated:
            return completion
        if not completion.completion_tokens and not completion.estimated:
            return completion  # nothing was written: a filter's refusal
        if not self._estimated:
            self._estimated = True
            self._usage.count("")
            self._tell(f"reports no usage: tokens are estimated with {self._usage.method}")
        prompt = completion.prompt_tokens or self._usage.count_prompt(request.messages)
        return replace(completion, prompt_tokens=prompt, estimated=True)

    def read_reply(
        self, status: int, content: bytes, kind: str = "", wait_s: float | None = None
    ) -> Completion | Trouble:
        """Read a reply, whichever way it came; secrets in it are not repeated."""
        return read_body(
            self.settings,
            status,
            content,
            kind,
            wait_s,
            hide=self.hide_in,
            count=self._usage.count,
        )

    def hide_in(self, text: str) -> str:
        """Return what the server said without the secrets."""
        return self._auth.hide_in(text)

    def estimate(self, request: Request) -> Claim:
        """Return the tokens that a request may take at most."""
        prompt = self._usage.count_prompt(request.messages)
        return Claim(prompt, request.sampling.max_new_tokens)

    async def _persist(self, request: Request) -> Completion:
        attempt = 0
        while True:
            outcome = await self._try_dialects(request)
            if isinstance(outcome, Completion):
                if self._patience.note_answer(outcome):
                    self._give_up(_explain_blanks(self.settings, self._patience.blanks, outcome))
                return outcome
            if outcome.remedy.startswith("give_up"):
                self._raise(outcome)
            if self._patience.note_failure(outcome.kind, outcome.retry_after_s):
                self._give_up(
                    f"{outcome.message} → nothing was answered in {self._patience.failures} tries"
                    f" over {self._patience.waited_s:.0f} s; patience_s lets it take longer to be"
                    " ready"
                )
            if attempt == self.settings.max_retries:
                self._raise(outcome)
            wait_s = self._plan_wait(request, attempt)
            self._note_retry(outcome, wait_s)
            await self._sleep(wait_s)
            attempt += 1

    async def _try_dialects(self, request: Request) -> Completion | Trouble:
        """Ask, and ask again as a refusal suggests, as often as there is something to change."""
        structure = self.choose_structure(request)
        refused: Trouble | None = None
        for _ in range(_MOST_SWITCHES):
            outcome, dialect, payload = await self._attempt(request, structure)
            if isinstance(outcome, Completion):
                if refused is not None:
                    self._remember(request, structure, refused)
                return self.complete(request, outcome)
            if outcome.complaint is None:
                return outcome
            if dialect != self.dialect or self.learn(outcome.complaint, payload):
                continue
            weaker = list_weaker(structure, request.schema)
            wanted = self.settings.dialect.structured_output
            if outcome.remedy != "give_up_row" or wanted != "auto" or not weaker:
                return outcome
            # The server may know response_format, yet not every keyword of JSON schema: what is
            # remembered is the set of keywords, so that simpler schemas go on being sent.
            structure, refused = weaker[0], refused or outcome
        return outcome

    def _remember(self, request: Request, structure: Structure, refused: Trouble) -> None:
        shape = read_keywords(request.schema or {})
        if self._structures.get(shape) == structure:
            return
        self._structures[shape] = structure
        how = "json_object" if structure == "json_object" else "plain requests"
        self._tell_change(
            f"it refuses this response_format; schemas with the same keywords go on as {how},"
            f" their answers are still validated. It said: {refused.message}"
        )

    async def _attempt(
        self, request: Request, structure: Structure
    ) -> tuple[Completion | Trouble, Dialect, dict[str, Any]]:
        """Ask once, in the dialect of the moment; who waited for a slot knows what was learnt."""
        async with self.limit.slot() as permit:
            dialect = self.dialect
            payload = write_payload(self.settings, request, structure=structure, dialect=dialect)
            return await self._ask_once(payload, permit), dialect, payload

    async def _ask_once(self, payload: Mapping[str, Any], permit: Permit) -> Completion | Trouble:
        client = self.open_client()
        address = self.settings.address
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                response, content = await self._post(client, payload)
        except (TimeoutError, httpx.ReadTimeout):
            self._lower_limit(self.limit.record_overload(permit))
            said = f"no answer from {address} within {self.settings.timeout_s:g} s"
            return Trouble("retry", said, kind="timeout")
        except httpx.HTTPError as error:
            return describe_transport_error(self.settings, error)
        now = datetime.now(UTC)
        outcome = self.read_reply(
            response.status_code,
            content,
            response.headers.get("content-type", ""),
            read_retry_after(response.headers, now),
        )
        if isinstance(outcome, Completion):
            self.limit.record_success(permit, tokens=outcome.completion_tokens)
            return outcome
        if outcome.remedy == "back_off":
            self._lower_limit(self.limit.record_overload(permit))
        if outcome.retry_after_s is not None:
            self.limit.pause(min(outcome.retry_after_s, self.settings.max_pause_s))
        return outcome

    async def _post(
        self, client: httpx.AsyncClient, payload: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        request = client.build_request(
            "POST",
            self.settings.completions_url,
            params=self.settings.query or None,
            content=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )
        response = await client.send(request, stream=True)
        try:
            return response, await read_bounded(response, _MOST_BODY_BYTES)
        finally:
            await response.aclose()

    def open_client(self) -> httpx.AsyncClient:
        """Return the client, unless the engine was closed or the endpoint given up."""
        if self._closed:
            raise EngineError(f"the engine for {self.settings.address} was closed")
        self._verdict.check()
        if self._client is None:
            most = self.settings.max_concurrency
            self._client = httpx.AsyncClient(
                auth=self._auth,
                headers=list_plain_headers(self.settings),
                limits=httpx.Limits(max_connections=most + 1, max_keepalive_connections=most),
                timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
                transport=self._transport,
            )
        return self._client

    async def _await_first_answer(self) -> None:
        """Say that nothing came yet; give up a server that takes connections and says nothing."""
        looked = False
        while True:
            await asyncio.sleep(_LATE_S)
            if self._patience.answered or self._closed or self._verdict.text is not None:
                return
            waited_s = self._patience.waited_s
            if not looked and not self._patience.heard and waited_s >= self.settings.patience_s:
                looked = True
                if not await self._is_alive():
                    self._verdict.fall(
                        f"{self.settings.address} takes connections and answers nothing, not even"
                        f" GET /models, in {self._patience.waited_s:.0f} s → check the address and"
                        " the server; patience_s lets it take longer to be ready"
                    )
                    return
            self._tell(f"no answer from {self.settings.address} after {waited_s:.0f} s; waiting")

    async def _is_alive(self) -> bool:
        """Tell whether the server answers a request that costs nothing; anything is an answer."""
        with suppress(EngineError, httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                await self.open_client().get(
                    f"{self.settings.address}/models", params=self.settings.query or None
                )
            return True
        return False

    def _lower_limit(self, lowered: bool) -> None:
        if lowered:
            _LOG.info(
                "%s is overloaded: at most %d requests open",
                self.settings.address,
                self.limit.limit,
            )

    def _plan_wait(self, request: Request, attempt: int) -> float:
        bound = min(self.settings.max_backoff_s, self.settings.backoff_s * 2.0**attempt)
        # Jitter without a random source: the spread between requests is all that matters.
        digest = hashlib.sha256(f"{request.request_id}/{attempt}".encode()).digest()
        return bound * (0.5 + int.from_bytes(digest[:4], "big") / 2**33)

    def _note_retry(self, trouble: Trouble, wait_s: float) -> None:
        _LOG.debug("%s", trouble.message)
        now = self._clock()
        if now - self._noted.get(trouble.kind, -_NOTE_EVERY_S) >= _NOTE_EVERY_S:
            self._noted[trouble.kind] = now
            asked_s = min(trouble.retry_after_s or 0.0, self.settings.max_pause_s)
            self._tell(f"retrying: {trouble.message}; next try in {max(wait_s, asked_s):.0f} s")

    def _tell_change(self, text: str) -> None:
        self._changes.append(text)
        _LOG.warning("%s: %s", self.settings.address, text)
        self._tell(f"{self.settings.address}: {text}")

    def _tell(self, text: str) -> None:
        self._notes.append(text)

    def _give_up(self, text: str) -> NoReturn:
        self._verdict.fall(text)
        raise RequestFailed(self._verdict.text or text, fatal=True)

    def _raise(self, trouble: Trouble) -> NoReturn:
        said = trouble.message
        if trouble.remedy in ("retry", "back_off"):
            tried = f"{said}, {self.settings.max_retries + 1} times"
            if trouble.kind == "connect":
                if not self._patience.answered:
                    self._give_up(tried)
                raise EngineError(tried)
            raise RequestFailed(tried)
        if trouble.remedy == "give_up_prompt":
            raise PromptTooLong(said)
        if trouble.remedy == "give_up_row" and not self._patience.answered:
            self._refused += 1
            if self._refused >= _REFUSALS_BEFORE_FATAL:
                self._verdict.fall(said)
        if trouble.remedy == "give_up_all":
            self._verdict.fall(said)
        raise RequestFailed(said, fatal=self._verdict.text is not None)


def _explain_blanks(settings: EndpointSettings, count: int, completion: Completion) -> str:
    if completion.reasoning:
        what = f"{len(completion.reasoning):,} characters of reasoning and no text"
        todo = "raise max_new_tokens, or have the model think less (dialect.extra_body)"
    else:
        what, todo = "no text", "see what the model needs, or name another"
    return (
        f"the first {count} answers of {settings.model} at {settings.completions_url} held {what}"
        f" (finish_reason {completion.finish_reason}) → {todo}"
    )
