"""Proves that a plan says what becomes of the thoughts of each model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.recipe.thinking import describe_thinking
from tests.unit.flows.worlds import make_config, write_config, write_model

SWITCHED = "{% if enable_thinking is false %}<think></think>{% endif %}{{ messages[0].content }}"


def describe(folder: Path, template: str, **knobs: Any) -> str:
    from flows.recipe.settings import load_settings

    model = write_model(folder / "model")
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    config = make_config(folder)
    config["models"]["thinker"] = {"model": str(model), **knobs}
    return "\n".join(describe_thinking(load_settings(write_config(folder, config))))


@pytest.mark.parametrize(
    ("template", "knobs", "said"),
    [
        ("{{ messages }}", {}, ""),
        (SWITCHED, {}, "set max_thought_tokens or thinking: off"),
        ("{{ messages }}<think>", {}, "set max_thought_tokens if answers are cut"),
        (SWITCHED, {"max_thought_tokens": 900}, ""),
        (SWITCHED, {"thinking": "off"}, "off by enable_thinking: false"),
        ("{{ messages }}<think>", {"thinking": "off"}, "knows no switch"),
        (SWITCHED, {"thinking": "keep"}, "kept in its texts"),
    ],
)
def test_a_local_model_is_read_by_its_template(
    template: str, knobs: dict[str, Any], said: str, tmp_path: Path
) -> None:
    found = describe(tmp_path, template, **knobs)
    assert said in found
    assert bool(found) == bool(said)


def test_a_template_in_a_file_of_its_own_counts(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(SWITCHED)
    found = describe(tmp_path, "{{ messages }}", chat_template=str(path), thinking="off")
    assert "off by enable_thinking: false" in found


def test_an_endpoint_is_asked_and_may_not_obey(tmp_path: Path) -> None:
    knobs = {"engine": "endpoint", "base_url": "http://127.0.0.1:1/v1"}
    assert describe(tmp_path, "", **knobs) == ""
    (tmp_path / "two").mkdir()
    assert "asked of the endpoint" in describe(tmp_path / "two", "", thinking="off", **knobs)
