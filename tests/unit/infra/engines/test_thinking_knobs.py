"""Proves what the knobs of a model's thoughts change, and that unset they change no name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from infra.context import model_identity
from infra.engines.config import ModelConfig
from infra.engines.endpoint.wire import write_payload
from infra.engines.opening import endpoint_settings
from infra.nodes.row_stages import name_encoder
from infra.protocol import Message, Request, SamplingParams

ASK = Request("r", (Message("user", "hi"),), None, SamplingParams(0.5, 0.9, 32))


def endpoint(**knobs: Any) -> ModelConfig:
    return ModelConfig(engine="endpoint", model="m", base_url="http://127.0.0.1:1/v1", **knobs)


def send(**knobs: Any) -> dict[str, Any]:
    return write_payload(endpoint_settings(endpoint(**knobs)), ASK)


@pytest.mark.parametrize(
    "knobs",
    [
        {"thinking": "off"},
        {"thinking": "keep"},
        {"template_values": {"enable_thinking": False}},
        {"reasoning_effort": "low"},
        {"max_thought_tokens": 500},
    ],
)
def test_each_knob_is_another_recipe(knobs: dict[str, Any]) -> None:
    assert model_identity(endpoint(**knobs)) != model_identity(endpoint())


def test_what_is_not_set_is_not_named() -> None:
    plain = endpoint().knob_values("identity")
    set_as_usual = endpoint(thinking="strip", template_values={}, max_thought_tokens=0)
    assert not {"thinking", "template_values", "reasoning_effort", "max_thought_tokens"} & set(
        plain
    )
    assert set_as_usual.knob_values("identity") == plain


def test_an_endpoint_is_told_how_much_to_think_only_where_it_is_said() -> None:
    assert not {"chat_template_kwargs", "reasoning_effort"} & set(send())
    assert send(reasoning_effort="low")["reasoning_effort"] == "low"
    given = send(template_values={"enable_thinking": True, "depth": 2}, thinking="off")
    sent = {"enable_thinking": True, "thinking": False, "depth": 2}
    assert given["chat_template_kwargs"] == sent


def test_a_template_gets_its_values_and_the_effort() -> None:
    config = ModelConfig(model="m", template_values={"b": 1, "a": [True]}, reasoning_effort="low")
    assert name_encoder(config).values == '{"a": [true], "b": 1, "reasoning_effort": "low"}'
    assert name_encoder(ModelConfig(model="m")).values == ""
    assert name_encoder(ModelConfig(model="m", thinking="off")).thinking_off


def test_values_that_are_the_prompt_itself_are_refused() -> None:
    with pytest.raises(ValidationError, match="messages come from the run"):
        ModelConfig(model="m", template_values={"messages": []})
