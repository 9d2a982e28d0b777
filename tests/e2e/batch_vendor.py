"""Plays a vendor with a batch API: takes files, runs batches after a few looks, mixes up lines.

It answers as the odd endpoint's models do, live and in batches alike. One object serves a real
HTTP server and a transport without a network.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.e2e.loopback_server import serve_on_loopback
from tests.e2e.odd_endpoint import Body, OddEndpoint, Reply, answer

Served = tuple[int, bytes]


def speak_oddly(body: Body) -> Reply:
    """Answer a request as the odd endpoint's model of its name does."""
    return answer(OddEndpoint(), body)


@dataclass
class Batch:
    """A batch and how it is going to end."""

    body: Body
    lines: list[Body]
    ending: str = "completed"
    looks: int = 0
    output: str | None = None
    errors: str | None = None
    ended: bool = False


@dataclass
class BatchVendor:
    """What a vendor holds, how it behaves, and what it was asked.

    Attributes:
        looks: How often a batch is looked at before it ends.
        endings: How batches end, in the order in which they are made; "completed" afterwards.
            "expired" and "cancelled" answer every second line, "queue is full" and "bad file" none.
        failing: How many lines meet an error of the server's own, over all batches.
        held: Whether batches go on without an end.
        has_batches: Whether there is a batch API at all.
        lose: How many batches are made without the reply arriving.
        speak: Answers requests, and ``speak_in_batches`` those that come as lines.
    """

    looks: int = 2
    endings: list[str] = field(default_factory=list)
    failing: int = 0
    held: bool = False
    has_batches: bool = True
    lose: int = 0
    speak: Callable[[Body], Reply] = speak_oddly
    speak_in_batches: Callable[[Body], Reply] | None = None
    address: str = ""
    live: list[Body] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> list[str]:
        """Return the names of all requests of all batches."""
        return [line["custom_id"] for batch in self.batches.values() for line in batch.lines]

    def serve(self, method: str, target: str, kind: str, content: bytes) -> Served:
        """Answer one call."""
        url = urlsplit(target)
        path = url.path.removeprefix("/v1")
        with self.lock:
            if path == "/chat/completions":
                body = json.loads(content)
                self.live.append(body)
                return _write(*self.speak(body))
            if path == "/models" or not self.has_batches:
                return _write(200 if path == "/models" else 404, {"detail": "Not Found"})
            if (method, path) == ("POST", "/files"):
                return self._take_file(kind, content)
            if (method, path) == ("POST", "/batches"):
                return self._make_batch(json.loads(content))
            if (method, path) == ("GET", "/batches"):
                return self._list(parse_qs(url.query))
            if found := re.fullmatch(r"/batches/([^/]+)/cancel", path):
                self.batches[found[1]].ending = "cancelled"
                self._end(self.batches[found[1]])
                return _write(200, self._describe(found[1]))
            if found := re.fullmatch(r"/batches/([^/]+)", path):
                return self._look(found[1])
            if found := re.fullmatch(r"/files/([^/]+)/content", path):
                held = self.files.get(found[1])
                return (200, held) if held is not None else _write(404, {"error": "no such file"})
        return _write(404, {"error": {"message": f"no {method} {path}"}})

    async def transport(self, sent: httpx.Request) -> httpx.Response:
        """Answer a call without a network."""
        content = await sent.aread()
        kind = sent.headers.get("content-type", "")
        status, body = self.serve(sent.method, str(sent.url), kind, content)
        if sent.method == "POST" and sent.url.path == "/v1/batches" and self.lose:
            self.lose -= 1
            raise httpx.ReadError("the connection broke", request=sent)
        return httpx.Response(status, content=body, request=sent)

    def _take_file(self, kind: str, content: bytes) -> Served:
        parts = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        fields: dict[str, bytes] = {}
        for part in parts.walk():
            name = part.get_param("name", header="content-disposition")
            if isinstance(name, str):
                fields[name] = part.get_payload(decode=True)  # type: ignore[assignment]
        if fields.get("purpose", b"").strip() != b"batch":
            return _write(400, {"error": {"message": "purpose must be batch"}})
        return _write(200, {"id": self._keep(fields["file"]), "object": "file"})

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def _make_batch(self, body: Body) -> Served:
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert body["endpoint"] == "/v1/chat/completions" == lines[0]["url"]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        ending = self.endings.pop(0) if self.endings else "completed"
        name = f"batch_{len(self.batches)}"
        self.batches[name] = Batch(body, lines, ending)
        return _write(200, self._describe(name))

    def _list(self, query: dict[str, list[str]]) -> Served:
        names = list(reversed(self.batches))
        after = query.get("after", [""])[0]
        names = names[names.index(after) + 1 :] if after else names
        limit = int(query["limit"][0])
        data = [self._describe(name) for name in names[:limit]]
        return _write(200, {"object": "list", "data": data, "has_more": len(names) > limit})

    def _look(self, name: str) -> Served:
        batch = self.batches.get(name)
        if batch is None:
            return _write(404, {"error": {"message": "no such batch"}})
        batch.looks += 1
        if batch.looks > self.looks and not self.held and not batch.ended:
            self._end(batch)
        return _write(200, self._describe(name))

    def _end(self, batch: Batch) -> None:
        batch.ended = True
        good: list[bytes] = []
        bad: list[bytes] = []
        if batch.ending in ("queue is full", "bad file"):
            return
        for number, line in enumerate(reversed(batch.lines)):
            name = line["custom_id"]
            if batch.ending != "completed" and number % 2:
                error = {"code": f"batch_{batch.ending}", "message": "time is up"}
                bad.append(_line(name, None, error))
                continue
            self.answered[name] += 1
            if self.failing:
                self.failing -= 1
                bad.append(_line(name, (500, {"error": {"message": "a shard was lost"}})))
                continue
            reply = (self.speak_in_batches or self.speak)(line["body"])
            (good if reply[0] == 200 else bad).append(_line(name, reply))
        batch.output = self._keep(b"".join(good)) if good else None
        batch.errors = self._keep(b"".join(bad)) if bad else None

    def _describe(self, name: str) -> Body:
        batch = self.batches[name]
        failed = batch.ending in ("queue is full", "bad file")
        told: Body = {
            "id": name,
            "object": "batch",
            "input_file_id": batch.body["input_file_id"],
            "metadata": batch.body["metadata"],
            "status": "in_progress" if batch.looks > 1 else "validating",
            "request_counts": {"total": len(batch.lines), "completed": batch.looks, "failed": 0},
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
        }
        if batch.ended:
            told["status"] = "failed" if failed else batch.ending
        if batch.ended and failed:
            code = "token_limit_exceeded" if batch.ending == "queue is full" else "invalid_json"
            error = {"code": code, "message": f"the {batch.ending}", "line": 3}
            told["errors"] = {"object": "list", "data": [error]}
        return told


@contextmanager
def serve_batches(vendor: BatchVendor) -> Iterator[BatchVendor]:
    """Run a vendor as a server on loopback, in threads of this process."""
    with serve_on_loopback(_Handler, vendor=vendor) as address:
        vendor.address = f"{address}/v1"
        yield vendor


def _line(name: str, reply: tuple[int, Any] | None, error: Body | None = None) -> bytes:
    response = {"status_code": reply[0], "body": reply[1]} if reply is not None else None
    told = {"id": "line", "custom_id": name, "response": response, "error": error}
    return json.dumps(told).encode() + b"\n"


def _write(status: int, body: Any) -> Served:
    return status, body if isinstance(body, bytes) else json.dumps(body).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    vendor: BatchVendor

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a call that sends nothing."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a call with a body."""
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, content: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        status, body = self.vendor.serve(self.command, self.path, kind, content)
        with suppress(ConnectionError):  # who asked may have been killed
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
