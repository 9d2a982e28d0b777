"""Proves what a configured dialect may hold, what it changes, and that defaults change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from infra.context import model_identity
from infra.engines.config import ModelConfig
from infra.engines.endpoint.dialect import Dialect, DialectConfig
from infra.engines.endpoint.wire import EndpointSettings, write_payload
from infra.engines.opening import endpoint_settings, read_endpoint_secrets
from infra.errors import ConfigError
from infra.protocol import Message, Request, SamplingParams

SAMPLING = SamplingParams(0.7, 0.9, 32, 7)


def endpoint(**dialect: Any) -> ModelConfig:
    spoken = DialectConfig.model_validate(dialect)
    return ModelConfig(engine="endpoint", model="m", base_url="http://x.test/v1", dialect=spoken)


def payload(*roles: str, dialect: Dialect | None = None, **config: Any) -> dict[str, Any]:
    messages = tuple(Message(role, f"{role}?") for role in roles or ("user",))  # type: ignore[arg-type]
    request = Request("r", messages, None, SAMPLING, {"type": "object"})
    return write_payload(endpoint_settings(endpoint(**config)), request, dialect=dialect)


def test_only_what_changes_rows_changes_the_identity() -> None:
    plain = model_identity(ModelConfig(engine="endpoint", model="m", base_url="http://y.test/v1"))
    unchanged: tuple[dict[str, Any], ...] = (
        {}, {"seed": False}, {"token_limit": "max_completion_tokens"}, {"headers": {"X-A": "b"}},
        {"query": {"api-version": "1"}}, {"path": "/answers"},
    )  # fmt: skip
    for dialect in unchanged:
        assert model_identity(endpoint(**dialect)) == plain, dialect
    changed: tuple[dict[str, Any], ...] = (
        {"temperature": False}, {"top_p": False}, {"system_role": "user"},
        {"structured_output": "none"}, {"extra_body": {"top_k": 5}},
    )  # fmt: skip
    assert len({model_identity(endpoint(**dialect)) for dialect in changed} | {plain}) == 6
    assert "dialect" not in ModelConfig(model="m").knob_values("identity")


def test_requests_are_written_in_the_dialect() -> None:
    sent = payload(
        token_limit="max_completion_tokens",
        temperature=False,
        extra_body={"reasoning_effort": "low", "top_p": None},
    )
    assert sent["max_completion_tokens"] == 32 and sent["reasoning_effort"] == "low"
    assert not {"max_tokens", "temperature", "top_p"} & set(sent)


@pytest.mark.parametrize(
    ("role", "roles", "expected"),
    [
        ("developer", ("system", "user"), [("developer", "system?"), ("user", "user?")]),
        ("user", ("system", "user"), [("user", "system?\n\nuser?")]),
        ("user", ("system", "assistant", "user"),
         [("user", "system?"), ("assistant", "assistant?"), ("user", "user?")]),
        ("user", ("system",), [("user", "system?")]),
        ("user", ("user", "assistant", "user"),
         [("user", "user?"), ("assistant", "assistant?"), ("user", "user?")]),
    ],
)  # fmt: skip
def test_system_prompt_goes_where_it_is_taken(
    role: str, roles: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    sent = payload(*roles, system_role=role)
    assert [(turn["role"], turn["content"]) for turn in sent["messages"]] == expected


def test_what_cannot_be_encoded_is_not_sent() -> None:
    request = Request("r", (Message("user", "a\udc80b\x00"),), None, SAMPLING)
    sent = write_payload(EndpointSettings("http://x.test/v1", "m"), request)
    assert sent["messages"] == [{"role": "user", "content": "a\ufffdb"}]


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ({"headers": {"X-Api-Key": "abc"}}, "env:NAME"),
        ({"headers": {"X-Plain": "Bearer abcdef"}}, "env:NAME"),
        ({"headers": {"bad name": "x"}}, "cannot be set"),
        ({"headers": {"Content-Length": "3"}}, "cannot be set"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, "line break"),
        ({"query": {"key": "abc"}}, "secret"),
        ({"query": {"sig": "abc"}}, "secret"),
        ({"query": {"v": "env:NAME"}}, "secret"),
        ({"path": "chat"}, "begins with /"),
        ({"path": "/a?b=c"}, "begins with /"),
        ({"path": "/../x"}, "begins with /"),
        ({"extra_body": {"messages": []}}, "cannot be set"),
        ({"token_limit": "length"}, "max_completion_tokens"),
    ],
)
def test_what_cannot_work_or_would_show_a_secret_is_refused(
    dialect: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        DialectConfig.model_validate(dialect)
    told = str(caught.value.errors(include_input=False))
    assert "abc" not in told


def test_secret_headers_are_read_where_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    config = endpoint(headers={"api-key": "env:OC_HEADER", "X-Team": "poets"})
    with pytest.raises(ConfigError, match="OC_HEADER"):
        read_endpoint_secrets(config)
    monkeypatch.setenv("OC_HEADER", "sk-hidden-header-1")
    key, headers = read_endpoint_secrets(config)
    assert key is None and set(headers) == {"api-key"}
    assert "sk-hidden" not in repr(headers) + repr(endpoint_settings(config))


@pytest.mark.parametrize(
    "base",
    [
        "http://azure.test/openai/deployments/four?api-version=2026-01-01",
        "http://azure.test/openai/deployments/four/?api-version=2026-01-01",
        "http://azure.test/openai/deployments/four/chat/completions?api-version=2026-01-01",
    ],
)
def test_deployments_with_a_version_in_their_address_work(base: str) -> None:
    settings = EndpointSettings(base, "four")
    folder = "http://azure.test/openai/deployments/four"
    assert settings.completions_url == f"{folder}/chat/completions"
    assert settings.query == {"api-version": "2026-01-01"}
