"""Makes a Llama of a few thousand parameters, the same at every call."""

from __future__ import annotations

from typing import Any


def make_llama(layers: int) -> Any:
    """Return a model with 64 tokens in its vocabulary and random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )
