"""Proves that refusals of many servers teach the dialect they want, and that others teach none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.engines.endpoint.dialect import Dialect, DialectConfig
from infra.engines.endpoint.dialect_learning import learn, read_complaint

PAYLOAD = {
    "model": "m",
    "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
    "max_tokens": 9,
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 3,
    "stream": False,
}


def said(message: str, **more: str) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def pydantic(kind: str, text: str, *place: str | int) -> Any:
    return {"detail": [{"type": kind, "loc": ["body", *place], "msg": text, "input": "?"}]}


def find(body: Any, dialect: Dialect | None = None, **config: Any) -> str | None:
    text = body if isinstance(body, str) else json.dumps(body)
    complaint = read_complaint(None if isinstance(body, str) else body, text)
    dialect = dialect or Dialect()
    payload = {name: value for name, value in PAYLOAD.items() if name not in dialect.omitted}
    payload[dialect.token_limit] = payload.pop("max_tokens")
    switch = learn(DialectConfig(**config), dialect, complaint, payload)
    return switch.name if switch is not None else None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (said("Unsupported parameter: 'max_tokens' does not go with this model. Use"
              " 'max_completion_tokens' instead.", param="max_tokens"),
         "token_limit=max_completion_tokens"),
        (said("this model takes no max_tokens, please use max_completion_tokens"),
         "token_limit=max_completion_tokens"),
        (said("Unsupported value: 'temperature' does not support 0.7. Only the default (1) value"
              " is supported.", param="temperature", code="unsupported_value"),
         "without temperature"),
        (said("invalid temperature: only 1 is allowed for this model"), "without temperature"),
        (said("reasoners don't support temperature=0.7. Only temperature=1 is supported."),
         "without temperature"),
        (said("`temperature` is deprecated for this model."), "without temperature"),
        (said("`temperature` and `top_p` cannot both be specified; use only one."),
         "without top_p"),
        (said("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"),
         "without top_p"),
        (pydantic("extra_forbidden", "Extra inputs are not permitted", "seed"), "without seed"),
        ({"object": "error", "message": pydantic("extra_forbidden", "no extras", "top_p")},
         "without top_p"),
        ("Failed to deserialize the JSON body: unknown field `seed`, expected one of `messages`,"
         " `max_tokens`, `temperature`, `top_p` at line 1 column 9", "without seed"),
        (said("Unrecognized request argument supplied: seed"), "without seed"),
        (said("property 'seed' is unsupported"), "without seed"),
        (said("Malformed input request: extraneous key [seed] is not permitted"), "without seed"),
        ([said("Invalid JSON payload received. Unknown name \"seed\": Cannot find field.")],
         "without seed"),
        (said("Additional properties are not allowed ('seed' was unexpected)"), "without seed"),
        (said("gateway: m does not support parameters: ['top_p'], for model=m"), "without top_p"),
        (said("System role not supported"), "system_role=user"),
        (said("Conversation roles must alternate user/assistant/user/assistant/..."),
         "system_role=user"),
        (said("Only user and assistant roles are supported!"), "system_role=user"),
        (said("Developer instruction is not enabled for models/small"), "system_role=user"),
        (said("Unsupported value: 'messages[0].role' does not support 'system' here.",
              param="messages[0].role"), "system_role=user"),
        (said("The role 'system' is not allowed, use 'developer' instead."),
         "system_role=developer"),
        (said("messages: Unexpected role \"system\". There is a top-level parameter for it."),
         "system_role=user"),
        (pydantic("literal_error", "Input should be 'user' or 'assistant', not 'system'",
                  "messages", 0, "role"), "system_role=user"),
        (said("Unknown parameter: 'stream'", param="stream"), "without stream"),
    ],
)  # fmt: skip
def test_refusals_teach(body: Any, expected: str) -> None:
    assert find(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        said("temperature too low"),
        said("Invalid value for temperature: must be between 0 and 0.5", param="temperature"),
        said("max_tokens is too large: 9000. At most 4096 are possible.", param="max_tokens"),
        said("max_tokens=5000 cannot be greater than max_model_len=512."),
        said("After the optional system message, conversation roles must alternate user/assistant"),
        said("The model m does not exist"),
        said("content was refused by the policy"),
        said("This model's maximum context length is 64 tokens"),
        "<html>Bad request</html>",
        {"detail": "odd"},
        [],
    ],
)
def test_other_refusals_teach_nothing(body: Any) -> None:
    assert find(body) is None


def test_what_a_person_set_is_left_as_it_is() -> None:
    seed = said("Unrecognized request argument supplied: seed")
    assert find(seed, seed=True) is None
    assert find(said("System role not supported"), system_role="system") is None
    limit = said("Unsupported parameter: 'max_tokens'", param="max_tokens")
    assert find(limit, token_limit="max_tokens") is None


def test_only_what_was_sent_is_blamed() -> None:
    seed = said("Unrecognized request argument supplied: seed")
    assert find(seed, Dialect(omitted=frozenset({"seed"}))) is None
    old = said("Unrecognized request argument supplied: max_completion_tokens")
    assert find(old, Dialect(token_limit="max_completion_tokens")) == "token_limit=max_tokens"
