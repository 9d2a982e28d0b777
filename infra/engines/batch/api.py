"""Calls the files and batches of an OpenAI-compatible endpoint.

What passes by itself is tried again here, with the endpoint engine's bounds. To make a batch is
never repeated blindly: a reply that was lost may have left a batch behind that runs, and costs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import httpx

from infra.engines.batch.config import BatchConfig
from infra.engines.batch.journal import BatchRecord
from infra.engines.batch.wire import BatchState, read_list, read_state
from infra.engines.endpoint.connection import describe_transport_error, read_bounded
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.replies import decode_text, parse_json, read_error, shorten
from infra.errors import RequestFailed

MARK = "opencharacter"
_NOT_THERE = frozenset({404, 405, 501})
_TRANSIENT = frozenset({408, 409, 425, 429})
_TRANSFER_S = 1800.0
_MOST_REPLY_BYTES = 16 * 2**20
_IN_MEMORY_BYTES = 16 * 2**20
_PAGE = 100
_MOST_PAGES = 10


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    content: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class _Lost(Exception):
    """Reply that did not come, or that says to try again."""


class BatchApi:
    """Door to a vendor's files and batches, over an endpoint engine's connections.

    Every method raises :class:`RequestFailed`, ``fatal`` where it would fail again.
    """

    def __init__(
        self,
        live: EndpointEngine,
        config: BatchConfig,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._live, self._config, self._sleep = live, config, sleep
        self._settings = live.settings

    async def check(self) -> None:
        """Find out whether there are batches at all, before anything is paid."""
        reply = await self._call("GET", "/batches", params={"limit": "1"})
        if reply.status in _NOT_THERE:
            raise RequestFailed(
                f"{self._settings.address} has no batch API (HTTP {reply.status} for GET /batches)"
                " → leave models.<role>.batch out, which asks live",
                fatal=True,
            )
        self._expect(reply, "GET /batches")

    async def upload(self, content: bytes, name: str) -> str:
        """Send a batch's requests; return what the vendor calls the file."""
        file = (name, content, "application/jsonl")
        reply = await self._call("POST", "/files", data={"purpose": "batch"}, files={"file": file})
        self._expect(reply, "POST /files")
        body = parse_json(reply.content)
        found = body.get("id") if isinstance(body, Mapping) else None
        if not isinstance(found, str) or not found:
            raise self._explain(reply, "POST /files", "its reply names no file")
        return found

    async def create(self, record: BatchRecord) -> BatchState:
        """Have a batch made of a file that was sent, once."""
        wanted = {
            "input_file_id": record.file_id,
            "endpoint": self._config.url,
            "completion_window": self._config.window,
            "metadata": {MARK: record.name},
        }
        lost: _Lost | None = None
        for attempt in range(self._settings.max_retries + 1):
            if attempt:
                await self._sleep(self._plan_wait(attempt - 1))
                found = await self.find(record)
                if found is not None:
                    return found
            try:
                content = json.dumps(wanted).encode()
                kind = {"Content-Type": "application/json"}
                reply = await self._ask("POST", "/batches", content=content, headers=kind)
            except _Lost as error:
                lost = error
                continue
            self._expect(reply, "POST /batches")
            state = read_state(reply.content)
            if state is None:
                raise self._explain(reply, "POST /batches", "its reply names no batch")
            return state
        raise RequestFailed(str(lost))

    async def find(self, record: BatchRecord) -> BatchState | None:
        """Look among the vendor's batches for one whose making was not heard of to the end."""
        params = {"limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            reply = await self._call("GET", "/batches", params=params)
            self._expect(reply, "GET /batches")
            page = read_list(reply.content)
            for state, metadata, source in page:
                if metadata.get(MARK) == record.name or (
                    record.file_id and record.file_id == source
                ):
                    return state
            body = parse_json(reply.content)
            if not page or not isinstance(body, Mapping) or not body.get("has_more"):
                return None
            params["after"] = page[-1][0].batch_id
        return None

    async def look(self, batch_id: str) -> BatchState | None:
        """Return how a batch stands; nothing where the vendor knows it no longer."""
        reply = await self._call("GET", f"/batches/{batch_id}")
        if reply.status == 404:
            return None
        self._expect(reply, "GET /batches")
        state = read_state(reply.content)
        if state is None:
            raise self._explain(reply, "GET /batches", "its reply is no batch", fatal=False)
        return state

    async def cancel(self, batch_id: str) -> None:
        """Have a batch ended; what it has answered by then is kept by the vendor."""
        self._expect(await self._call("POST", f"/batches/{batch_id}/cancel"), "POST /batches")

    async def download(self, file_id: str) -> IO[bytes] | None:
        """Return a file's content; nothing where the vendor keeps it no longer."""
        path = f"/files/{file_id}/content"
        for attempt in range(self._settings.max_retries + 1):
            sink = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
            try:
                reply = await self._ask("GET", path, sink=sink)
            except _Lost as error:
                sink.close()
                if attempt == self._settings.max_retries:
                    raise RequestFailed(str(error)) from None
                await self._sleep(self._plan_wait(attempt))
                continue
            if reply.ok:
                sink.seek(0)
                return sink
            sink.close()
            if reply.status == 404:
                return None
            self._expect(reply, "GET /files")
        raise RequestFailed(f"{path} could not be read")

    async def _call(self, method: str, path: str, **sent: Any) -> _Reply:
        """Call what may be called again; a reply that says to do so is no reply."""
        for attempt in range(self._settings.max_retries + 1):
            try:
                return await self._ask(method, path, **sent)
            except _Lost as error:
                if attempt == self._settings.max_retries:
                    raise RequestFailed(f"{error}, {attempt + 1} times") from None
                await self._sleep(self._plan_wait(attempt))
        raise RequestFailed(f"{method} {path} was not tried")

    async def _ask(
        self, method: str, path: str, *, sink: IO[bytes] | None = None, **sent: Any
    ) -> _Reply:
        client = self._live.open_client()
        settings = self._settings
        params = {**settings.query, **sent.pop("params", {})}
        request = client.build_request(
            method, f"{settings.address}{path}", params=params or None, **sent
        )
        try:
            least_s = _TRANSFER_S if path.startswith("/files") else 0.0
            async with asyncio.timeout(max(settings.timeout_s, least_s)):
                response = await client.send(request, stream=True)
                try:
                    if sink is not None and response.is_success:
                        async for block in response.aiter_bytes():
                            sink.write(block)
                        return _Reply(response.status_code)
                    content = await read_bounded(response, _MOST_REPLY_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise _Lost(f"no answer from {settings.address}{path}") from None
        except httpx.HTTPError as error:
            raise _Lost(describe_transport_error(settings, error).message) from None
        reply = _Reply(response.status_code, content)
        if reply.status in _TRANSIENT or (reply.status >= 500 and reply.status not in _NOT_THERE):
            raise _Lost(str(self._explain(reply, f"{method} {path.split('?')[0]}")))
        return reply

    def _expect(self, reply: _Reply, call: str) -> None:
        if not reply.ok:
            raise self._explain(reply, call)

    def _explain(
        self, reply: _Reply, call: str, what: str = "", *, fatal: bool = True
    ) -> RequestFailed:
        error = read_error(parse_json(reply.content))
        said = shorten(self._live.hide_in(error.text if error else decode_text(reply.content)))
        where = f"HTTP {reply.status} for {call} at {self._settings.address}"
        todo = ""
        if reply.status in (401, 403):
            key = self._settings.key_reference
            todo = f" → check the key (it comes from {key or 'nowhere: name it in api_key'})"
        return RequestFailed(f"{where}: {what or said or 'no text'}{todo}", fatal=fatal)

    def _plan_wait(self, attempt: int) -> float:
        return min(self._settings.max_backoff_s, self._settings.backoff_s * 2.0**attempt)
