"""Serves chat completions on loopback in every odd way that endpoints are known for.

The oddity is the model's name. A plain model answers as a scripted engine would, so a whole
pipeline runs against it.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from infra.engines.scripted_answers import write_answer
from infra.protocol import Message, Request, SamplingParams
from tests.e2e.loopback_server import serve_on_loopback

Body = dict[str, Any]
Reply = tuple[int, Any]

PAGE = b"<!doctype html><html><body>It works! This is no model.</body></html>"
SECRET = "musing-that-nobody-may-hear"
_IN_SPEECH = re.compile(r"([a-z]) ([a-z])(?!.*[a-z] [a-z])", re.DOTALL)
"""The last blank between two words."""
STREAMED = "One\u2028two \U0001f600."


@dataclass
class OddEndpoint:
    """What the server was asked."""

    address: str = ""
    asked: list[Body] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve_oddities() -> Iterator[OddEndpoint]:
    """Run the server in threads of this process."""
    endpoint = OddEndpoint()
    with serve_on_loopback(_Handler, endpoint=endpoint) as address:
        endpoint.address = f"{address}/v1"
        yield endpoint


@contextmanager
def listen_silently() -> Iterator[str]:
    """Take connections at an address and never answer any."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def answer(endpoint: OddEndpoint, body: Body) -> Reply:
    """Answer a request as the model of its name does."""
    return _ODDITIES.get(body["model"], _speak)(body)


def _write(body: Body) -> str:
    told = body.get("response_format") or {}
    schema = told.get("json_schema", {}).get("schema")
    messages = tuple(
        Message(turn["role"] if turn["role"] != "developer" else "system", turn["content"])
        for turn in body["messages"]
    )
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
    sampling = SamplingParams(body.get("temperature", 1.0), 1.0, limit, body.get("seed"))
    return write_answer(Request("odd", messages, None, sampling, schema))


def _reply(content: Any, reason: str = "stop", usage: bool = True, **message: Any) -> Reply:
    said = {"role": "assistant", "content": content, **message}
    body: Body = {"object": "chat.completion", "model": "odd",
                  "choices": [{"index": 0, "message": said, "finish_reason": reason}]}  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 30, "completion_tokens": 12}
    return 200, body


def _refuse(status: int, message: str, **more: Any) -> Reply:
    return status, {"error": {"message": message, "type": "invalid_request_error", **more}}


def _speak(body: Body) -> Reply:
    return _reply(_write(body))


def _strict(body: Body) -> Reply:
    """Take only what a reasoning model takes, and say so one field at a time."""
    if "max_tokens" in body:
        return _refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'"
                       " instead.", param="max_tokens", code="unsupported_parameter")  # fmt: skip
    for name in ("temperature", "top_p"):
        if body.get(name, 1) != 1:
            return _refuse(400, f"Unsupported value: '{name}' does not support {body[name]} here."
                           " Only the default (1) value is supported.", param=name)  # fmt: skip
    return _speak(body)


def _closed(body: Body) -> Reply:
    """Forbid what it does not know, as pydantic says it."""
    for name in ("seed", "top_p", "response_format"):
        if name in body:
            told = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs"}
            return 422, {"detail": [told]}
    return _speak(body)


def _without_system(body: Body) -> Reply:
    if any(turn["role"] == "system" for turn in body["messages"]):
        return _refuse(500, "Jinja: System role not supported")
    return _speak(body)


def _dirty(body: Body) -> Reply:
    """Break a letter and drop a NUL within the text, and more of both around it."""
    text = _IN_SPEECH.sub("\\1 \ud83d\x00 \\2", _write(body))
    return _reply("\ufeff" + text + "\x00 \ud83d\u2028")


def _think(body: Body) -> Reply:
    return _reply(f"<think>\n{SECRET}: [a] {{b}} score: 2.\n</think>\n\n{_write(body)}")


def _talk(body: Body) -> Reply:
    """Talk before and after what was asked for as JSON, and fence it."""
    text = _write(body)
    if text[:1] not in ("{", "["):
        return _reply(text)
    said = f"Gladly! Below is the result:\n\n```json\n{text}\n```\n\nShall I go on?"
    return _reply(said)


def _leave_open(body: Body) -> Reply:
    """Never close the brackets of JSON, though nothing cut it off."""
    text = _write(body)
    return _reply(text.rstrip('"}] \n') if text[:1] in ("{", "[") else text)


_ODDITIES: dict[str, Callable[[Body], Reply]] = {
    "strict": _strict,
    "closed": _closed,
    "without-system": _without_system,
    "dirty": _dirty,
    "thinks": _think,
    "talks": _talk,
    "leaves-open": _leave_open,
    "uncounted": lambda body: _reply(_write(body), usage=False),
    "parts": lambda body: _reply([{"type": "text", "text": _write(body)}]),
    "thinks-only": lambda body: _reply(None, "length", reasoning_content="Let me see. " * 40),
    "calls-tools": lambda body: _reply(None, "tool_calls", tool_calls=[{"id": "1"}]),
    "page": lambda body: (200, PAGE),
    "lost-page": lambda body: (404, PAGE),
    "broken": lambda body: _refuse(500, "an assertion of ours failed"),
    "deep": lambda body: (200, b"[" * 50_000),
    "half": lambda body: (200, b'{"choices": [{"message": {"con'),
    "empty": lambda body: (200, b""),
    "upstream": lambda body: _refuse(200, "the upstream is overloaded", code=529),
    "busy": lambda body: _refuse(429, f"slow down, request {time.monotonic_ns()}"),
    "locked": lambda body: _refuse(401, "no such key"),
    "no-choices": lambda body: (200, {"id": "1", "choices": []}),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: OddEndpoint

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """List no models; that is an answer as well."""
        self._send(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        """Answer a request, whole or as a stream."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        _, _, query = self.path.partition("?")
        body = json.loads(data)
        with self.endpoint.lock:
            self.endpoint.asked.append(body)
            self.endpoint.queries.append(query)
            self.endpoint.headers.append(dict(self.headers))
        status, said = answer(self.endpoint, body)
        if body.get("stream") and isinstance(said, dict) and said.get("choices"):
            self._stream()
        else:
            self._send(status, said)

    def _stream(self) -> None:
        halves = [STREAMED[:-2], "\ud83d", "\ude00", "."]
        events: list[Body] = [{"choices": [{"delta": {"content": part}}]} for part in halves]
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        lines[0] = f"data: {json.dumps(events[0], ensure_ascii=False)}\n\n".encode()
        self._send(200, b"".join([*lines, b"data: [DONE]\n\n"]), "text/event-stream")

    def _send(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if data == PAGE else kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
