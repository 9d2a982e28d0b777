"""Proves that whatever a model or a server says is read, or a reject with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.engines.endpoint.replies import Unreadable, parse_json, read_completion
from infra.errors import Reject
from infra.protocol import Completion
from tasks.characters.profile import parse_profile
from tasks.dialogues.players.generation import read_answer
from tasks.dialogues.players.rewriting import read_rewriting
from tasks.evaluation.judging.verdicts import read_verdict
from tasks.records import Turn

DEEP = "[" * 1500 + "]" * 1500
DEEP_OBJECT = '{"a":' * 1500 + "1" + "}" * 1500
HALF = "A half \ud83d sign"
SOURCE = (Turn("user", "Why is bread brown?"), Turn("assistant", "Because of the heat."))

PROFILES = [
    ("nothing", "", "empty"),
    ("talk", "Sure! Here is what you asked for.", None),
    ("a list", "[1, 2]", None),
    ("nested", DEEP, None),
    ("nested objects", DEEP_OBJECT, None),
    ("cut off", '{"Name": "Ann", "Age": "3', None),
    ("one field", '{"Name": "Ann"}', None),
    ("half a sign", json.dumps({"Name": HALF}), None),
    ("marks", "!!!!" * 50, None),
    ("NUL", "\0" * 10, None),
]

ANSWERS = [
    ("nothing", Completion("", "stop", 1, 0), "empty"),
    ("white space", Completion(" \n\t ", "stop", 1, 0), "empty"),
    ("no room", Completion("", "length", 1, 0), "truncated"),
    ("a filter", Completion("I", "content_filter", 1, 0), "filtered"),
    ("a loop", Completion("I like it. " * 200, "stop", 1, 0), None),
    ("template marks", Completion("<|im_start|><|im_end|>", "stop", 1, 0), None),
]

REWRITINGS = [
    ("nothing", ""),
    ("talk", "I would rather not."),
    ("nested", DEEP),
    ("an object", '{"turns": 5}'),
    ("numbers", "[1, 2]"),
    ("too few", '[{"role": "user", "content": "Why?"}]'),
    ("cut off", '[{"role": "user", "content": "Wh'),
]

VERDICTS = [
    ("nothing", ""),
    ("talk", "A fine answer indeed."),
    ("nested", DEEP),
    ("nested objects", DEEP_OBJECT),
    ("beyond the scale", '{"score": 99}'),
    ("no number", '{"score": null}'),
    ("endless", '{"score": NaN}'),
    ("huge", '{"score": 1e999}'),
    ("many digits", '{"score": ' + "9" * 5000 + "}"),
]

REPLIES: list[tuple[str, Any]] = [
    ("a text", "hello"),
    ("a list", []),
    ("nothing", None),
    ("no choices", {}),
    ("empty choices", {"choices": []}),
    ("choices that are none", {"choices": [5]}),
    ("a choice without a message", {"choices": [{}]}),
    ("a message that is none", {"choices": [{"message": 5}]}),
    ("a server on its way down", {"choices": [{"finish_reason": "abort", "message": {}}]}),
]


@pytest.mark.parametrize(("text", "reason"), [one[1:] for one in PROFILES],
                         ids=[one[0] for one in PROFILES])  # fmt: skip
def test_a_profile_that_is_none_is_a_reject(text: str, reason: str | None) -> None:
    found = parse_profile(text)
    assert isinstance(found, Reject)
    assert found.reason
    assert reason in (None, found.reason)


@pytest.mark.parametrize(("completion", "reason"), [one[1:] for one in ANSWERS],
                         ids=[one[0] for one in ANSWERS])  # fmt: skip
def test_an_answer_of_nothing_is_a_reject(completion: Completion, reason: str | None) -> None:
    found = read_answer(completion)
    assert isinstance(found, Reject)
    assert reason in (None, found.reason)


@pytest.mark.parametrize("text", [one[1] for one in REWRITINGS], ids=[one[0] for one in REWRITINGS])
def test_a_rewriting_that_is_none_is_a_reject(text: str) -> None:
    found = read_rewriting(Completion(text, "stop", 1, 1), source=SOURCE, context_turns=0)
    assert isinstance(found, Reject)
    assert found.reason


@pytest.mark.parametrize("text", [one[1] for one in VERDICTS], ids=[one[0] for one in VERDICTS])
def test_a_verdict_without_a_score_is_missing(text: str) -> None:
    found = read_verdict(text)
    assert found is None or found.score is None or 1 <= found.score <= 5


@pytest.mark.parametrize("body", [one[1] for one in REPLIES], ids=[one[0] for one in REPLIES])
def test_a_reply_that_is_no_completion_is_unreadable(body: object) -> None:
    found = read_completion(body)
    assert isinstance(found, Unreadable)
    assert str(found)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"<html>", DEEP.encode(), DEEP_OBJECT.encode(), b'{"a":"\\ud800"}'],
)
def test_whatever_a_server_sends_is_read(content: bytes) -> None:
    read_completion(parse_json(content))
