"""Translates requests and answers to and from the files of a vendor's batch API.

Nothing here opens a connection, and no bytes that a vendor sends raise anything. A line of a
finished batch becomes what the same reply would have become had it been asked for live.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.engines.endpoint.replies import parse_json, shorten
from infra.engines.endpoint.wire import EndpointSettings, Trouble
from infra.protocol import Completion, Request
from infra.store.fingerprints import hash_json

UNASKED: Literal["unasked"] = "unasked"
"""What became of a request that its batch did not get to."""
Reply = Completion | Trouble
ReadReply = Callable[[int, bytes], Reply]

_KEY_CHARS = 32
_DIGEST_CHARS = 24
_ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
_NOT_REACHED = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
_QUEUE_IS_FULL = frozenset({"token_limit_exceeded"})
_MOST_ERRORS = 3


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a vendor says of a batch."""

    batch_id: str
    status: str
    output_file: str | None
    error_file: str | None
    total: int
    completed: int
    failed: int
    errors: str
    queue_is_full: bool

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will come."""
        return self.status in _ENDED

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files in which its answers and its failures lie."""
        return tuple(name for name in (self.output_file, self.error_file) if name)


def name_request(settings: EndpointSettings, request: Request) -> str:
    """Name a request by its row and by all that it asks, in whatever dialect that is written.

    So the request of a later run is known again in a batch that an earlier one sent, although
    the dialect was learnt in between.
    """
    sampling = request.sampling
    asked = [
        request.request_id,
        [(message.role, message.content) for message in request.messages],
        [sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.seed],
        request.schema,
        settings.model,
        dict(settings.thinking_fields),
        settings.dialect.extra_body,
    ]
    text = json.dumps(asked, sort_keys=True)  # ASCII, so that half surrogates pass
    row = "".join(char for char in request.request_id[:_KEY_CHARS] if char.isalnum())
    return f"{row}-{hash_json(text)[:_DIGEST_CHARS]}"


def write_line(name: str, url: str, payload: Mapping[str, Any]) -> bytes:
    """Write one request as a line of a batch's file."""
    body = {key: value for key, value in payload.items() if key != "stream"}
    line = {"custom_id": name, "method": "POST", "url": url, "body": body}
    return json.dumps(line).encode() + b"\n"


def cut_lines(
    lines: Iterable[tuple[str, bytes]], most_lines: int, most_bytes: int
) -> Iterator[dict[str, bytes]]:
    """Cut lines into files that a vendor takes; a line that is too long goes alone."""
    taken: dict[str, bytes] = {}
    size = 0
    for name, line in lines:
        if taken and (len(taken) >= most_lines or size + len(line) > most_bytes):
            yield taken
            taken, size = {}, 0
        taken[name] = line
        size += len(line)
    if taken:
        yield taken


def read_state(content: bytes) -> BatchState | None:
    """Read a batch's description, or nothing where it is none."""
    return _read_batch(parse_json(content))


def read_list(content: bytes) -> list[tuple[BatchState, Mapping[str, Any], str]]:
    """Read a list of batches: each with its metadata and the file that it was made from."""
    body = parse_json(content)
    data = body.get("data") if isinstance(body, Mapping) else body
    found = []
    for item in data if isinstance(data, list) else ():
        state = _read_batch(item)
        if state is not None:
            told = item.get("metadata")
            source = str(item.get("input_file_id") or "")
            found.append((state, told if isinstance(told, Mapping) else {}, source))
    return found


def read_line(line: bytes, read_reply: ReadReply) -> tuple[str, Reply | Literal["unasked"]] | None:
    """Read one line of what a batch brought back; nothing where it names no request."""
    item = parse_json(line)
    if not isinstance(item, Mapping) or not isinstance(item.get("custom_id"), str):
        return None
    name = item["custom_id"]
    response, error = item.get("response"), item.get("error")
    if isinstance(response, Mapping) and isinstance(response.get("status_code"), int):
        return name, read_reply(response["status_code"], _write_body(response.get("body")))
    if isinstance(error, Mapping):
        if error.get("code") in _NOT_REACHED:
            return name, UNASKED
        return name, read_reply(500, _write_body({"error": error}))
    return name, UNASKED


def _read_batch(body: object) -> BatchState | None:
    if not isinstance(body, Mapping) or not isinstance(body.get("id"), str) or not body["id"]:
        return None
    counts = body.get("request_counts")
    counts = counts if isinstance(counts, Mapping) else {}
    total, completed, failed = (
        count if isinstance(count := counts.get(name), int) else 0
        for name in ("total", "completed", "failed")
    )
    errors = list(_list_errors(body.get("errors")))
    return BatchState(
        batch_id=body["id"],
        status=str(body.get("status") or "").lower().replace(" ", "_"),
        output_file=_read_name(body.get("output_file_id")),
        error_file=_read_name(body.get("error_file_id")),
        total=total,
        completed=completed,
        failed=failed,
        errors="; ".join(dict.fromkeys(text for _, text in errors[:_MOST_ERRORS])),
        queue_is_full=any(code in _QUEUE_IS_FULL for code, _ in errors),
    )


def _list_errors(errors: object) -> Iterator[tuple[str, str]]:
    data = errors.get("data") if isinstance(errors, Mapping) else errors
    for item in data if isinstance(data, list) else ():
        if isinstance(item, Mapping):
            line = item.get("line")
            where = f"line {line}: " if isinstance(line, int) else ""
            text = str(item.get("message") or item.get("code") or "")
            yield str(item.get("code") or ""), where + shorten(text)
        elif isinstance(item, str):
            yield "", shorten(item)


def _read_name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _write_body(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    try:
        return json.dumps(body).encode()
    except (ValueError, RecursionError):
        return b""
