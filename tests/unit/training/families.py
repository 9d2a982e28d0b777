"""Builds tokenizers of families beside Llama 3 and ChatML, with templates as models ship them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from infra.rendering.encoder import load_tokenizer

GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
MISTRAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
PHI = ("<unk>", "<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<pad>")

GEMMA_OWN = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not"
    " supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') !="
    " (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role ="
    " message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim +"
    " '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}"
    "{% endif %}"
)
MISTRAL_OWN = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0"
    " % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if message['role'] =="
    " 'user' %}{{ '[INST] ' + message['content'] + '[/INST]' }}{% else %}{{ ' ' +"
    " message['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
PHI_OWN = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] +"
    " '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MARKED_OWN = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] =="
    " 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = {"gemma": GEMMA, "mistral": MISTRAL, "phi": PHI}


def load_spaced(folder: Path, family: str, template: str | None = None) -> Any:
    """Write and load a SentencePiece conversion with the tokens of a family."""
    folder.mkdir(parents=True)
    letters = ["\u2581", *map(chr, range(33, 127)), "\n", "\u201c", "\u201d"]
    words = [*SPECIAL[family], *letters, "th", "\u2581th", "\u2581the"]
    merges = [("t", "h"), ("\u2581", "th"), ("\u2581th", "e")]
    inner = Tokenizer(
        models.BPE({word: n for n, word in enumerate(words)}, merges, unk_token="<unk>")
    )
    inner.normalizer = normalizers.Replace(" ", "\u2581")
    inner.decoder = decoders.Replace("\u2581", " ")
    rstrip = family == "phi"  # its special tokens take the white space behind them
    inner.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False, rstrip=rstrip)
            for text in SPECIAL[family]
        ]
    )
    from transformers import PreTrainedTokenizerFast

    ends = {"gemma": ("<bos>", "<eos>", "<pad>"), "mistral": ("<s>", "</s>", None)}
    bos, eos, pad = ends.get(family, ("<s>", "</s>", "<pad>"))
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token=eos, pad_token=pad, unk_token="<unk>"
    )
    made.chat_template = template
    made.save_pretrained(str(folder))
    return load_tokenizer(str(folder))
