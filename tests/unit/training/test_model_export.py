"""Proves that an export opens like any model, speaks in its template, and ends by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ConfigError
from tasks.training.model.export import ExportPlan, assemble_export
from tasks.training.model.export_errors import ChangedVocabulary, UnfitTemplate

from .exports import BASE, build_base, load_format, load_tokenizer, read_weights

PLAN = ExportPlan(str(BASE), None, load_format())
TURNS = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": " Hi. "}]


def read_json(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.torch
def test_the_folder_opens_with_the_serving_template_and_one_word_on_ends(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    plan = replace(PLAN, base=str(base))
    assemble_export(base, tmp_path / "out", plan)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    config = read_json(tmp_path / "out" / "config.json")
    generation = read_json(tmp_path / "out" / "generation_config.json")
    # The stop token first, then the base model's own end, which this one says is token 4.
    for settings in (config, generation):
        assert settings["eos_token_id"] == [3, 4]
        assert (settings["bos_token_id"], settings["pad_token_id"]) == (0, 5)
    assert config["dtype"] == "bfloat16"
    tokenizer = load_tokenizer(tmp_path / "out")
    assert (tokenizer.eos_token, tokenizer.pad_token_id) == ("<|eot_id|>", 5)
    assert tokenizer.chat_template == plan.chat.serving_template
    spoken = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    trained = tokenizer.apply_chat_template(
        TURNS,
        tokenize=False,
        add_generation_prompt=True,
        chat_template=plan.chat.serving_template,
    )
    assert spoken == trained
    assert spoken.count("<|begin_of_text|>") == 1
    assert "local" not in (tmp_path / "out" / "tokenizer_config.json").read_text()


@pytest.mark.torch
def test_the_same_weights_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assemble_export(BASE, tmp_path / name, PLAN)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert read_weights(BASE).keys() == read_weights(tmp_path / "one").keys()


@pytest.mark.torch
def test_a_base_without_generation_config_still_ends(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    (base / "generation_config.json").unlink()
    assemble_export(base, tmp_path / "out", replace(PLAN, base=str(base)))
    ends = read_json(tmp_path / "out" / "generation_config.json")["eos_token_id"]
    assert ends == [3, 4]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
         "generation"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}:"
         "{% endif %}", "loses turns or their end"),
        ("{% for m in messages %}{{ m.content | trim }}<|eot_id|>{% endfor %}",
         "elsewhere than where the answer begins"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_serve_is_refused(template: str, told: str, tmp_path: Path) -> None:
    plan = replace(PLAN, chat=replace(PLAN.chat, serving_template=template))
    with pytest.raises(UnfitTemplate, match=told):
        assemble_export(BASE, tmp_path / "out", plan)


def test_tokens_outside_the_vocabulary_and_a_doubled_role_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ChangedVocabulary, match="stop token 9999"):
        assemble_export(BASE, tmp_path / "a", replace(PLAN, chat=replace(PLAN.chat, stop_id=9999)))
    with pytest.raises(UnfitTemplate, match="both ends answers and fills"):
        assemble_export(BASE, tmp_path / "b", replace(PLAN, chat=replace(PLAN.chat, pad_id=3)))


@pytest.mark.torch
def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    config = read_json(base / "config.json")
    (base / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    with pytest.raises(ChangedVocabulary, match="2,048 tokens, the model 100"):
        assemble_export(base, tmp_path / "out", replace(PLAN, base=str(base)))


def test_nothing_is_exported_over_something(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        assemble_export(BASE, tmp_path, PLAN)
    with pytest.raises(ConfigError, match="cannot be opened"):
        assemble_export(BASE, tmp_path / "new", replace(PLAN, base=str(tmp_path / "nowhere")))
