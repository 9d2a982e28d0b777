"""Proves that the chat format follows from the tokenizer, and that what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.rendering.encoder import load_tokenizer
from tasks.training.rows.templates import ChatFormat, choose_format

from .tokenizers import CHATML, LLAMA3, build_base, load_family


def choose(folder: Path, *special: str, name: str = "auto", **knobs: str) -> ChatFormat:
    return choose_format(load_tokenizer(str(build_base(folder / "model", special, **knobs))), name)


def test_a_llama_3_base_model_without_chat_template_gets_its_family(tmp_path: Path) -> None:
    found = choose(tmp_path, *LLAMA3, "<|end_of_text|>", "<|reserved_special_token_0|>")
    assert (found.name, found.bos, found.stop_token) == (
        "llama3", "<|begin_of_text|>", "<|eot_id|>",
    )  # fmt: skip
    assert found.pad_token == "<|reserved_special_token_0|>"
    assert found.pad_id != found.stop_id


def test_chatml_has_no_bos(tmp_path: Path) -> None:
    found = choose(tmp_path, "<|endoftext|>", *CHATML)
    assert (found.name, found.bos, found.stop_token) == ("chatml", None, "<|im_end|>")


def test_the_demo_keeps_its_own_pad_token(tmp_path: Path) -> None:
    found = choose_format(load_family(tmp_path, "demo"))
    assert (found.name, found.stop_id, found.pad_id) == ("llama3", 3, 5)


def test_ids_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = load_family(tmp_path, "chatml")
    found = choose_format(tokenizer, "chatml")
    assert tokenizer.convert_ids_to_tokens([found.stop_id, found.pad_id]) == [
        found.stop_token, found.pad_token,
    ]  # fmt: skip


def test_a_pad_token_that_ends_turns_is_not_taken(tmp_path: Path) -> None:
    found = choose(tmp_path, *CHATML, "<|endoftext|>", pad="<|im_end|>")
    assert found.pad_token == "<|endoftext|>"


def test_the_finetuning_pad_is_preferred_to_a_reserved_token(tmp_path: Path) -> None:
    reserved, meant = "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"
    assert choose(tmp_path, *LLAMA3, reserved, meant).pad_token == meant


@pytest.mark.parametrize(("pad", "told"), [(None, "no pad token"), ("<|eot_id|>", "pads with")])
def test_nothing_to_pad_with_is_an_error_that_says_what_to_do(
    tmp_path: Path, pad: str | None, told: str
) -> None:
    folder = build_base(tmp_path / "model", LLAMA3, pad=pad)
    tokenizer = load_tokenizer(str(folder))
    before = len(tokenizer)
    with pytest.raises(ConfigError) as caught:
        choose_format(tokenizer)
    assert told in str(caught.value)
    assert '"pad_token"' in str(caught.value)
    assert len(tokenizer) == before


def test_a_tokenizer_of_neither_family_is_told_what_each_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llama3 needs .*chatml needs .*<\|im_end\|>"):
        choose(tmp_path, "<s>", "</s>", "<pad>")


def test_a_named_template_that_does_not_fit_lists_the_missing_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no special tokens <\|im_start\|>, <\|im_end\|>"):
        choose(tmp_path, *LLAMA3, "<pad>", name="chatml")


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such template: vicuna.*own or llama3 or chatml or"):
        choose(tmp_path, *LLAMA3, "<pad>", name="vicuna")


def test_what_ends_a_turn_decides_between_two_families(tmp_path: Path) -> None:
    found = choose(tmp_path, *LLAMA3, *CHATML, "<pad>", eos="<|im_end|>")
    assert found.name == "chatml"


def test_two_families_without_a_sign_must_be_told_apart_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name one of them"):
        choose(tmp_path / "a", *LLAMA3, *CHATML, "<pad>")
    assert choose(tmp_path / "b", *LLAMA3, *CHATML, "<pad>", name="llama3").name == "llama3"


def test_serving_templates_carry_no_marks(tmp_path: Path) -> None:
    for family in ("llama3", "chatml"):
        found = choose_format(load_family(tmp_path, family))
        assert "generation %}" in found.training_template
        assert "generation %}" not in found.serving_template
