"""Serves S3 on the loopback by moto, behind a proxy that counts, delays and spoils requests."""

from __future__ import annotations

import http.client
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from unittest import mock
from urllib.parse import unquote

from infra.store.storage import Storage, forget_connections
from tests.e2e.loopback_server import serve_on_loopback

_BUCKET = "bucket"
_ENTRY = re.compile(rb"<Contents>\s*<Key>(.*?)</Key>.*?</Contents>", re.DOTALL)
_SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclass(frozen=True)
class Weather:
    """Says what happens to requests; shares add up to one at most.

    Attributes:
        refused: Share that is answered 503 and not carried out.
        lost: Share that is carried out, but answered 503.
        cut: Share of answers that break off in the middle.
        dropped: Share whose connection ends without an answer, before it is carried out.
        lag_s: How long a new object is missing from listings.
    """

    latency_s: float = 0.0
    refused: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    dropped: float = 0.0
    lag_s: float = 0.0


FAIR = Weather()


@dataclass
class StumblingS3:
    """Is a server for tests to disturb and to count the requests of."""

    url: str
    upstream: tuple[str, int]
    weather: Weather = FAIR
    requests: Counter[str] = field(default_factory=Counter)
    spoilt: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    lock: threading.Lock = field(default_factory=threading.Lock)
    watch: Callable[[str, str], None] = lambda method, path: None
    """Hears of each request before it is carried out."""
    _written: dict[str, float] = field(default_factory=dict)
    _client: Any = None

    def storage(self, prefix: str) -> Storage:
        return Storage(f"s3://{_BUCKET}/{prefix}")

    def client(self) -> Any:
        """Return a client that goes past the proxy."""
        if self._client is None:
            import boto3

            host, port = self.upstream
            self._client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        return self._client

    def put(self, key: str, data: bytes) -> None:
        self.client().put_object(Bucket=_BUCKET, Key=key, Body=data)

    def note_write(self, path: str) -> None:
        """Remember when an object was written."""
        self._written[unquote(path.partition("?")[0])] = time.monotonic()

    def hide_new(self, listing: bytes) -> bytes:
        """Return a listing without the objects that are too new for the weather."""
        since = time.monotonic() - self.weather.lag_s
        new = {path for path, moment in list(self._written.items()) if moment > since}

        def keep(found: re.Match[bytes]) -> bytes:
            if f"/{_BUCKET}/{unquote(found[1].decode())}" not in new:
                return found[0]
            self.spoilt += 1
            return b""

        return _ENTRY.sub(keep, listing)

    def decide(self, method: str) -> str:
        """Count a request and draw what happens to it."""
        with self.lock:
            self.requests[method] += 1
            drawn, weather = self.chance.random(), self.weather
            for fate in ("refused", "lost", "cut", "dropped"):
                share: float = getattr(weather, fate)
                if drawn < share:
                    self.spoilt += 1
                    return fate
                drawn -= share
            return ""


@contextmanager
def run_s3() -> Iterator[StumblingS3]:
    """Serve an empty bucket and let the environment point at it until the context closes."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    known = StumblingS3("", moto.get_host_and_port())
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with serve_on_loopback(_Handler, server_state=known) as address:
            known.url = address
            with mock.patch.dict(os.environ, {**environment, "AWS_ENDPOINT_URL": address}):
                try:
                    forget_connections()
                    known.client().create_bucket(Bucket=_BUCKET)
                    yield known
                finally:
                    forget_connections()
    finally:
        moto.stop()


class _Handler(BaseHTTPRequestHandler):
    server_state: StumblingS3
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def handle(self) -> None:
        """Answer until the client goes, in whatever way: some are killed."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    def do_PUT(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def do_DELETE(self) -> None:
        self._forward()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server_state.watch(self.command, self.path)
        fate = self.server_state.decide(self.command)
        time.sleep(self.server_state.weather.latency_s)
        if fate == "refused":
            self._answer(503, {}, _SLOW_DOWN)
            return
        if fate == "dropped":
            self.close_connection = True
            return
        status, headers, data = self._ask(body)
        if self.command == "PUT" and status < 300:
            self.server_state.note_write(self.path)
        if self.command == "GET" and "list-type=2" in self.path:
            data = self.server_state.hide_new(data)
            headers.pop("Content-Length", None)
        if fate == "lost":
            self._answer(503, {}, _SLOW_DOWN)
        elif fate == "cut" and len(data) > 1 and self.command == "GET":
            self._answer(status, headers, data, sent=len(data) // 2)
        else:
            self._answer(status, headers, data)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.server_state.upstream, timeout=30)
        try:
            kept = {n: v for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP}
            kept["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, kept)
            answer = connection.getresponse()
            data = answer.read()
            headers = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP}
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, headers, data
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], data: bytes, sent: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])
        if sent is not None:
            self.close_connection = True
