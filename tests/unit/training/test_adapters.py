"""Proves that merged weights answer as base plus adapters do, the stop token's row included."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.errors import ConfigError
from tasks.training.ranks.adapters import merge_adapter

from .exports import build_base, read_weights

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("tied", [False, True])
def test_merged_weights_give_the_same_logits(tied: bool, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = build_base(tmp_path / "base", tied=tied)
    model = AutoModelForCausalLM.from_pretrained(str(base))
    wanted = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "up_proj"],
        trainable_token_indices={"embed_tokens": [3]} | ({} if tied else {"lm_head": [3]}),
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(model, wanted)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if value.requires_grad:
                assert "lora" in name or "token" in name
                value.normal_(std=0.1)
    ids = torch.tensor([[0, 3, 900, 3, 17]])
    tuned.eval()
    with torch.inference_mode():
        expected = tuned(input_ids=ids).logits
    tuned.save_pretrained(tmp_path / "adapter")

    merge_adapter(str(base), None, tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(str(tmp_path / "merged")).eval()
    with torch.inference_mode():
        found = merged(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert read_weights(tmp_path / "merged").keys() == read_weights(base).keys()
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_a_folder_without_adapters_is_told(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    shutil.rmtree(tmp_path / "adapter", ignore_errors=True)
    with pytest.raises(ConfigError, match=r"holds no adapter_config\.json"):
        merge_adapter(str(base), None, tmp_path / "adapter", tmp_path / "merged")
