"""Proves that a plan counts as the engine will: the same template, the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from infra.paths import packaged_configs
from infra.protocol import Message
from infra.rendering.encoder import PromptEncoder
from infra.rendering.token_counting import PromptCounter

PROMPT = (
    Message("system", "You are Ada.\n\nName: Ada"),
    Message("user", "Why is bread brown? (Tell me.)"),
)


def write_tokenizer(folder: Path) -> Path:
    """Write a folder whose tokenizer counts words and marks."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("model", ["teacher", "base"])
def test_counts_are_those_of_the_function_that_makes_prompts(model: str) -> None:
    folder = packaged_configs() / "demo" / model
    counter = PromptCounter(folder)
    assert counter.exact
    assert counter.count(PROMPT) == len(PromptEncoder(str(folder)).encode(PROMPT))


def test_without_a_tokenizer_length_decides(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        counter = PromptCounter(folder)
        assert not counter.exact
        assert counter.count_text("twelve chars") == 3
        assert counter.count_text("thirteen char") == 4
        assert counter.count((Message("user", "twelve chars"),)) == 8


def test_a_template_in_the_tokenizer_config_is_used(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    template = "{{ bos_token }} {% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    config = {"chat_template": template, "bos_token": {"content": "begin"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert PromptCounter(tmp_path).count((Message("user", "one two"),)) == 4
    bare = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert PromptCounter(tmp_path, bare).count((Message("user", "one two"),)) == 2


@pytest.mark.parametrize(
    "template", ["{% if", "{{ raise_exception('no') }}", "{{ messages[0].content + 1 }}"]
)
def test_a_template_that_does_not_render_costs_a_few_tokens_a_turn(
    tmp_path: Path, template: str
) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    assert PromptCounter(tmp_path).count((Message("user", "one two"),)) == 7


def test_a_broken_tokenizer_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert not PromptCounter(tmp_path).exact
