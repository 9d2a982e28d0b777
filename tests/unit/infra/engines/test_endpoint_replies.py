"""Proves that whatever a server sends is read as an answer or named, and never raises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.engines.endpoint.replies import read_retry_after
from infra.engines.endpoint.streaming_endpoint import split_lines
from infra.engines.endpoint.wire import EndpointSettings, Trouble, read_body
from infra.errors import RequestFailed
from infra.protocol import Completion

SETTINGS = EndpointSettings("http://server.test/v1", "m")
URL = "http://server.test/v1/chat/completions"

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_NAMES = st.sampled_from(
    ["choices", "message", "content", "usage", "error", "code", "finish_reason", "delta",
     "completion_tokens", "prompt_tokens_details", "reasoning", "text", "type", "loc", "detail"]
)  # fmt: skip
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=25,
)


def read(body: Any, status: int = 200) -> Completion | Trouble:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_body(SETTINGS, status, content, "application/json", count=len)


def choice(reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": reason}]}


@given(st.binary(max_size=400), st.integers(100, 599), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read(content: bytes, status: int, kind: str) -> None:
    found = read_body(SETTINGS, status, content, kind, count=len)
    assert isinstance(found, Completion | Trouble)


@given(_TREES, st.sampled_from([200, 400, 404, 422, 500]))
@settings(max_examples=400, deadline=None)
def test_any_json_is_read(body: Any, status: int) -> None:
    found = read(body, status)
    assert isinstance(found, Completion | Trouble)
    if isinstance(found, Trouble):
        found.message.encode()
        assert len(found.message) < 700


@given(st.text(max_size=40))
def test_any_retry_after_is_read(value: str) -> None:
    headers = httpx.Headers([(b"retry-after", value.encode())])
    waited = read_retry_after(headers, datetime(2026, 1, 1, tzinfo=UTC))
    assert waited is None or waited >= 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body>Welcome to nginx</body></html>", "not a JSON object.*Welcome to nginx"),
        (b"", "an empty body"),
        (b'{"choices": [{"mess', "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"choices":' + b"[" * 100_000, "not a JSON object"),
        (b"\xff\xfe\x00\xd8", "no chat completion"),
        ({"choices": []}, "without choices"),
        ({"id": "1"}, "without choices"),
        ({"choices": ["x"]}, "a choice that is no object"),
        ({"choices": [{}]}, "without a message"),
    ],
)
def test_what_is_no_completion_is_shown(body: Any, words: str) -> None:
    found = read(body)
    assert isinstance(found, Trouble) and found.remedy == "retry"
    with pytest.raises(RequestFailed, match=f"(?s)HTTP 200 from {URL}.*{words}"):
        raise RequestFailed(found.message)
    assert len(found.message) < 500


@pytest.mark.parametrize(
    ("body", "text", "reason", "thought"),
    [
        (choice("length", content=None, reasoning_content="Hmm."), "", "length", "Hmm."),
        (choice(content="Yes.", reasoning="Let me see."), "Yes.", "stop", "Let me see."),
        (choice("tool_calls", content=None, tool_calls=[{"id": "1"}]), "", "tool_calls", ""),
        (choice("content_filter", content="Half an ans"), "", "refusal", ""),
        (choice("SAFETY", content=None), "", "refusal", ""),
        (choice("sensitive", content="Half an"), "", "refusal", ""),
        (choice("model_length", content="Half an"), "Half an", "length", ""),
        (choice(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "So."}]},
                         {"type": "text", "text": "Good day."}]), "Good day.", "stop", "So."),
        (choice(content=["a", {"text": "b"}, 5, None]), "ab", "stop", ""),
        (choice(content=17), "", "stop", ""),
    ],
)  # fmt: skip
def test_reasoning_is_kept_apart_and_blanks_stay_blank(
    body: Any, text: str, reason: str, thought: str
) -> None:
    found = read(body)
    assert isinstance(found, Completion)
    assert (found.text, found.finish_reason, found.reasoning) == (text, reason, thought)


def test_thoughts_count_where_usage_is_missing() -> None:
    found = read(choice(content="abcd", reasoning="efghij"))
    assert isinstance(found, Completion) and found.estimated and found.completion_tokens == 10
    odd = {"completion_tokens": float("1e999"), "prompt_tokens": -4}
    found = read({**choice(content="abcd"), "usage": odd})
    assert isinstance(found, Completion) and (found.prompt_tokens, found.estimated) == (0, True)


def lines(*blocks: bytes) -> list[bytes]:
    async def main() -> list[bytes]:
        async def give() -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

        return [line async for line in split_lines(give())]

    return asyncio.run(main())


@given(st.lists(st.integers(0, 40), max_size=6))
def test_streams_are_cut_at_their_own_line_ends_however_they_arrive(cuts: list[int]) -> None:
    whole = "data: a\u2028b\u2029c\x85d\r\ndata: e\n\rdata: f".encode()
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    blocks = [whole[start:end] for start, end in pairwise(places)]
    assert lines(*blocks) == ["data: a\u2028b\u2029c\x85d".encode(), b"data: e", b"", b"data: f"]


def test_a_line_without_an_end_is_no_stream() -> None:
    with pytest.raises(RequestFailed, match="no end"):
        lines(*[b"x" * 2**20] * 18)
