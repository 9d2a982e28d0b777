"""Builds tiny tokenizers of both chat families, and conversations to encode with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from infra.paths import packaged_configs
from infra.rendering.encoder import load_tokenizer
from tasks.records import Example, Split, Turn

LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHATML = ("<|im_start|>", "<|im_end|>")
PADS = {"llama3": "<|finetune_right_pad_id|>", "chatml": "<|endoftext|>"}

_WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_base(
    folder: Path, special: Sequence[str], *, pad: str | None = None, eos: str | None = None
) -> Path:
    """Write a tokenizer without a chat template, as base models have none.

    It cuts words as Llama 3 and Qwen do, and merges newlines, so that a header's newline and the
    text after it would become one token if they ever met.
    """
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("ĊĊ", "Ċ"), ("t", "h"), ("th", "e"), ("|", ">"), ("<", "|"), ("o", "t")]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad, "eos_token": eos}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    return folder


def build_family(folder: Path, family: str) -> Path:
    """Write the base tokenizer of a family, with a token to pad with."""
    special = LLAMA3 if family == "llama3" else CHATML
    return build_base(folder, [*special, PADS[family]])


def load_family(folder: Path, family: str) -> Any:
    """Load the tokenizer of ``llama3``, of ``chatml``, or the demo's own."""
    if family == "demo":
        return load_tokenizer(str(packaged_configs() / "demo" / "base"))
    return load_tokenizer(str(build_family(folder / family, family)))


def make_example(
    *texts: str,
    system: str | None = "Be the baker.",
    context_turns: int = 0,
    key: str = "e1",
    split: Split = "train",
) -> Example:
    """Make an example whose texts are the user's and the assistant's in turn."""
    turns = tuple(
        Turn("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(texts)
    )
    return Example(
        key=key,
        dialogue_key=f"dialogue of {key}",
        character_key="c1",
        split=split,
        with_profile=True,
        context_turns=context_turns,
        messages=(Turn("system", system), *turns) if system is not None else turns,
    )
