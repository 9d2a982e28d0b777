"""Proves that a GGUF file holds the model it was written from, by reading it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from infra.models.gguf_conversion import convert
from tasks.training.config import TrainingConfig
from tasks.training.model.export_errors import BrokenGguf, BrokenWeights
from tasks.training.model.gguf_checks import check_gguf
from tasks.training.model.gguf_export import GgufPlan, Quantisation, write_gguf
from tasks.training.model.gguf_fitness import find_gguf_problems

from .exports import BASE, build_base, load_tokenizer, read_weights, write_weights

TEXTS = ("12345 and 7", "naïve 日本語 🙂\n\n  x", "a<|eot_id|>b <|start_header_id|>", "It's  two")
TURNS = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": "Age? 42"}]


def copy_base(folder: Path) -> Path:
    shutil.copytree(BASE, folder)
    return folder


def edit(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")


def answer(folder: Path) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    text = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    found: list[int] = model.generate(ids, max_new_tokens=16, do_sample=False)[0].tolist()
    return found


@pytest.mark.torch
def test_f16_comes_back_with_its_weights_tokens_template_and_answers(tmp_path: Path) -> None:
    base = copy_base(tmp_path / "base")
    path = write_gguf(base, GgufPlan("f16", "Ann", "mit"))
    check_gguf(path, base)
    convert(path, tmp_path / "back")
    own, back = read_weights(base), read_weights(tmp_path / "back")
    assert own.keys() == back.keys()
    for name, values in own.items():
        assert (values.float() - back[name].float()).abs().max() <= values.abs().max() * 2**-11
    one, other = load_tokenizer(base), load_tokenizer(tmp_path / "back")
    for text in TEXTS:
        assert one(text)["input_ids"] == other(text)["input_ids"]
    assert one.apply_chat_template(TURNS, tokenize=False) == other.apply_chat_template(
        TURNS, tokenize=False
    )
    assert answer(base) == answer(tmp_path / "back")


@pytest.mark.torch
def test_positions_scaled_as_llama_3_1_does_come_back_scaled(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", seed=3)
    rope = {
        "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 512,
    }  # fmt: skip
    edit(base / "config.json", rope_parameters=rope)
    path = write_gguf(base, GgufPlan("f16", "long"))
    check_gguf(path, base)
    convert(path, tmp_path / "back")
    back = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf-8"))
    assert back["rope_parameters"] == rope
    assert answer(base) == answer(tmp_path / "back")


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("tied", [True, False])
def test_grouped_heads_and_an_untied_head_are_told_right(
    tmp_path: Path, kind: Quantisation, tied: bool
) -> None:
    base = build_base(tmp_path / "base", tied=tied)
    check_gguf(write_gguf(base, GgufPlan(kind, "small")), base)


@pytest.mark.torch
def test_a_file_of_other_weights_is_refused_and_removed(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    path = write_gguf(base, GgufPlan("q8_0", "small"))
    tensors = read_weights(base)
    tensors["model.layers.1.self_attn.k_proj.weight"] *= 1.5
    write_weights(base, tensors)
    with pytest.raises(BrokenGguf, match=r"blk\.1\.attn_k\.weight"):
        check_gguf(path, base)
    assert not path.exists()


@pytest.mark.torch
def test_numbers_beyond_half_precision_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    tensors = read_weights(base)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    write_weights(base, tensors)
    with pytest.raises(BrokenWeights, match="too large"):
        write_gguf(base, GgufPlan("f16", "small"))
    assert not [item for item in base.iterdir() if "gguf" in item.name]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}, "Gemma2ForCausalLM"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding window"),
        ({"attention_bias": True}, "biases"),
    ],
)
def test_a_model_that_gguf_cannot_say_is_named(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    base = copy_base(tmp_path / "base")
    assert list(find_gguf_problems(base)) == []
    edit(base / "config.json", **values)
    with pytest.raises(ConfigError, match=told):
        write_gguf(base, GgufPlan("f16", "x"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model": {"type": "Unigram"}}, "Unigram"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "no name"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        (
            {"added_tokens": [{"id": 50_256, "content": "<|endoftext|>", "special": True}]},
            "'<|endoftext|>' has the id 50256, beyond its vocabulary of 2048",
        ),
    ],
)
def test_a_tokenizer_that_gguf_cannot_say_is_named(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    base = copy_base(tmp_path / "base")
    edit(base / "tokenizer.json", **values)
    assert [told in item.what for item in find_gguf_problems(base)] == [True]


def test_the_knob_counts_only_where_it_is_used() -> None:
    assert "gguf" not in TrainingConfig().knob_values("identity")
    assert TrainingConfig(gguf="q8_0").knob_values("identity")["gguf"] == "q8_0"
