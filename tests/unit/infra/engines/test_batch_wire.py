"""Proves what is written into a batch's file, and that nothing that comes back breaks reading."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.engines.batch.config import BatchConfig
from infra.engines.batch.journal import BatchJournal, BatchRecord
from infra.engines.batch.wire import (
    UNASKED,
    cut_lines,
    name_request,
    read_line,
    read_list,
    read_state,
    write_line,
)
from infra.engines.config import ModelConfig
from infra.engines.endpoint.dialect import DialectConfig
from infra.engines.endpoint.wire import EndpointSettings, Trouble, read_body, write_payload
from infra.protocol import Completion, Message, Request, SamplingParams
from infra.store.storage import Storage

SETTINGS = EndpointSettings("http://vendor.test/v1", "plain")
ONE = Request(
    "0f" * 16 + "-0-0",
    (Message("user", "two\u2028lines \ud83d"),),
    None,
    SamplingParams(1, 1, 8, 3),
)


def read(line: object) -> object:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    return read_line(data, lambda status, content: read_body(SETTINGS, status, content))


def test_a_line_is_one_line_and_says_what_live_requests_say() -> None:
    line = write_line("row-1", "/v1/chat/completions", write_payload(SETTINGS, ONE))
    assert line.count(b"\n") == len(line.splitlines()) == len(line.decode().splitlines()) == 1
    said = json.loads(line)
    assert (said["custom_id"], said["method"]) == ("row-1", "POST")
    assert said["body"]["max_tokens"] == 8 and "stream" not in said["body"]


def test_a_name_follows_what_is_asked_and_not_the_dialect() -> None:
    name = name_request(SETTINGS, ONE)
    assert name.startswith("0f" * 16) and len(name) <= 64 and name.isascii()
    spoken = DialectConfig(token_limit="max_completion_tokens", seed=False)
    assert name_request(replace(SETTINGS, dialect=spoken), ONE) == name
    others = [
        replace(ONE, request_id="0f" * 16 + "-0-1"),
        replace(ONE, messages=(Message("user", "three"),)),
        replace(ONE, sampling=SamplingParams(1, 1, 9, 3)),
        replace(ONE, schema={"type": "object"}),
    ]
    assert len({name, *(name_request(SETTINGS, other) for other in others)}) == 5


def test_files_are_cut_by_lines_and_by_bytes() -> None:
    lines = [(f"n{n}", b"x" * size) for n, size in enumerate([4, 4, 4, 30, 4])]
    cut = list(cut_lines(lines, 2, 10))
    assert [list(part) for part in cut] == [["n0", "n1"], ["n2"], ["n3"], ["n4"]]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{half",
        b"[1]",
        b"\xff\xfe",
        b"[" * 90_000,
        {"custom_id": 5},
        {"response": {"status_code": 200}},
    ],
)
def test_a_line_that_names_nothing_is_nothing(line: object) -> None:
    assert read(line) is None


def test_what_came_back_is_read_as_a_live_reply() -> None:
    body = {"choices": [{"message": {"content": "Moo", "reasoning": "A cow."}}]}
    found = read({"custom_id": "a", "response": {"status_code": 200, "body": body}})
    assert isinstance(found, tuple) and found[0] == "a"
    assert found[1].text == "Moo" and found[1].reasoning == "A cow."
    text = read({"custom_id": "a", "response": {"status_code": 200, "body": json.dumps(body)}})
    assert text == found
    filtered = {"error": {"code": "content_filter", "message": "no"}}
    answer = read({"custom_id": "a", "response": {"status_code": 400, "body": filtered}})
    assert answer == ("a", Completion("", "refusal", 0, 0))
    assert read({"custom_id": "a", "response": None, "error": {"code": "batch_expired"}}) == (
        "a",
        UNASKED,
    )
    assert read({"custom_id": "a"}) == ("a", UNASKED)
    lost = read({"custom_id": "a", "error": {"code": "server_error", "message": "disk"}})
    assert isinstance(lost, tuple) and isinstance(lost[1], Trouble)
    assert lost[1].remedy == "retry" and "disk" in lost[1].message
    empty = read({"custom_id": "a", "response": {"status_code": 200, "body": None}})
    assert isinstance(empty, tuple) and isinstance(empty[1], Trouble)


def test_a_batchs_description_is_read_in_the_ways_of_several_vendors() -> None:
    state = read_state(b'{"id": "b", "status": "COMPLETED", "output_file_id": "o"}')
    assert state is not None and state.ended and state.files == ("o",)
    state = read_state(b'{"id": "b", "status": "in_progress", "request_counts": {"total": 3}}')
    assert state is not None and not state.ended and (state.total, state.completed) == (3, 0)
    failed = {"id": "b", "status": "failed", "errors": {"data": [{"code": "x", "line": 2}]}}
    state = read_state(json.dumps(failed).encode())
    assert state is not None and state.errors == "line 2: x" and not state.queue_is_full
    for odd in (b"", b"[]", b"null", b'{"id": ""}', b'{"status": "completed"}', b"<html>"):
        assert read_state(odd) is None
        assert read_list(odd) == []


def test_of_two_records_of_a_request_the_newer_counts_and_old_ones_go(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    journal = BatchJournal(storage, SETTINGS)
    now = datetime.now(UTC)

    def record(name: str, days: int, *requests: str) -> BatchRecord:
        return BatchRecord(
            name=name,
            address=SETTINGS.address,
            model="plain",
            made_at=now - timedelta(days=days),
            digest="d",
            requests=requests,
            batch_id=f"batch-{name}",
        )

    for one in (record("new", 1, "b", "c"), record("old", 2, "a", "b"), record("gone", 31, "z")):
        journal.write(one)
    (tmp_path / "batches").joinpath(
        next((tmp_path / "batches").iterdir()), "batch-x.json"
    ).write_text("{half")
    later = BatchJournal(Storage(str(tmp_path)), SETTINGS)
    later.read()
    held = {name: found.name for name in "abcz" if (found := later.find(name)) is not None}
    assert held == {"a": "old", "b": "new", "c": "new"}
    other = BatchJournal(storage, replace(SETTINGS, model="another"))
    other.read()
    assert other.find("a") is None
    later.remove(record("new", 1, "b", "c"))
    later.forget(["a"])
    assert all(later.find(name) is None for name in "abc")
    assert len(storage.walk("batches")) == 2


def test_batches_change_no_row_and_are_for_one_endpoint() -> None:
    plain: dict[str, object] = {
        "engine": "endpoint",
        "model": "m",
        "base_url": "http://127.0.0.1:1/v1",
    }
    live = ModelConfig.model_validate(plain)
    batched = ModelConfig.model_validate(plain | {"batch": {}})
    assert batched.batch == BatchConfig()
    assert live.knob_values("identity") == batched.knob_values("identity")
    assert live.knob_values("selection") == batched.knob_values("selection")
    for wrong in ({"replicas": 2}, {"engine": "vllm"}):
        with pytest.raises(ValueError, match="batch is for endpoints"):
            ModelConfig.model_validate(plain | {"batch": {}} | wrong)
    with pytest.raises(ValueError, match="begins with /"):
        BatchConfig(url="v1/chat/completions")
