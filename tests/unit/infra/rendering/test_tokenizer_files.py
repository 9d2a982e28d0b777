"""Proves that a tokenizer's files tell what the loaded tokenizer tells."""

from __future__ import annotations

import pytest

from infra.paths import packaged_configs
from infra.rendering.encoder import load_tokenizer
from infra.rendering.tokenizer_files import TokenizerFiles


@pytest.mark.parametrize("name", ["base", "teacher"])
def test_files_tell_what_transformers_tells(name: str) -> None:
    folder = packaged_configs() / "demo" / name
    found, known = TokenizerFiles(folder), load_tokenizer(str(folder))
    assert {n: str(t) for n, t in found.added_tokens_decoder.items()} == {
        n: str(t) for n, t in known.added_tokens_decoder.items()
    }
    for part in ("bos_token", "eos_token", "pad_token", "chat_template"):
        assert getattr(found, part) == getattr(known, part)
    assert found.get_chat_template() == known.get_chat_template()
    assert found.convert_tokens_to_ids("<|eot_id|>") == known.convert_tokens_to_ids("<|eot_id|>")
