"""Builds the tiny Llama of the demo world and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

BOS, HEADER, HEADER_END = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"
STOP, END, PAD = "<|eot_id|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"
SPECIAL = (BOS, HEADER, HEADER_END, STOP, END, PAD)

VOCABULARY = 2048
CONTEXT = 2048

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}"
    "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Written for this project, in the shape of the Llama-3 family's chat format."""

# Words with their leading space, numbers of up to three digits, punctuation, line breaks: cut as
# the Llama-3 family cuts, so that "\n\n" after a header is a piece of its own in any rendering.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], words: Iterable[str]) -> Any:
    """Train a byte-level BPE of 2,048 tokens; ``words`` become single tokens, with their space.

    A tiny model copies a one-token place and fails on one of several tokens (measured), so the
    cities and peoples of the world are repeated until they are merged.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    repeated = [f' {word} "{word}' for word in words] * 3000
    raw.train_from_iterator([*texts, *repeated], trainer)
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=BOS, eos_token=STOP, pad_token=PAD
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = CONTEXT
    return tokenizer


def build_model(tokenizer: Any, seed: int) -> Any:
    """Build the untrained Llama: hidden 192, 6 layers, 3 heads of 64, 3.05 M parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=64,
        intermediate_size=512,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
        eos_token_id=tokenizer.convert_tokens_to_ids(STOP),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights in bf16 safetensors and the tokenizer; the folder appears whole or not."""
    import copy
    import shutil

    import torch

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_model(folder: Path) -> tuple[Any, Any]:
    """Load a finished model, in float32 for the CPU, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False
    )
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
