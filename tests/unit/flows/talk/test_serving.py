"""Proves that the address is told with a request that a shell takes as it is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from flows.recipe.opening import resolve_settings
from flows.recipe.settings import Settings, load_settings
from flows.talk.serving import ServeOptions, describe_server, serve
from infra.engines.config import ModelConfig
from infra.engines.vllm.openai_server import ServerPlan
from infra.errors import ConfigError
from tests.unit.flows.worlds import make_config, write_config

PLAN = ServerPlan(ModelConfig(model="/m"), "it's", "127.0.0.1", 8000)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve_settings(load_settings(write_config(tmp_path, make_config(tmp_path))))


def test_the_example_is_whole_and_asks_in_character(settings: Settings) -> None:
    told = describe_server(PLAN, settings, "env:MY_KEY")
    command = shlex.split(told.split("\n\n", 1)[1].replace("\\\n", " "))
    assert command[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert "Authorization: Bearer $MY_KEY" in command
    body = json.loads(command[command.index("-d") + 1])
    assert body["model"] == "it's"
    assert body["messages"][0]["content"].startswith("You are an AI character")
    assert "Authorization" not in describe_server(PLAN, settings, None)
    assert "$YOUR_KEY" in describe_server(PLAN, settings, "prefect:block")


def test_only_weights_can_be_served_and_a_missing_key_is_told(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="is a scripted, not weights"):
        serve(settings, ServeOptions(model="teacher"))
    models = {"teacher": ModelConfig(model="/m")}
    with pytest.raises(ConfigError, match="missing or empty"):
        serve(
            settings.model_copy(update={"models": models}),
            ServeOptions(model="teacher", api_key="env:NOT_SET_ANYWHERE"),
        )
