"""Dequantises one GGUF file into a model folder; run as a process: ``FILE FOLDER``.

transformers reads tensors, shapes and vocabulary. Two things it leaves to be done: how the text is
split before byte-pair merges (GGUF's ``tokenizer.ggml.pre``), without which numbers and, in some
families, all words get other ids than the model learnt; and saving, which it refuses for a model
that remembers where it came from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.models.rope_scaling import DEFAULT_THETA, find_scaling
from infra.temporary_folders import temporary_folder

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama-bpe": _CONTRACTIONS + r"\p{N}{1,3}" + _REST,
    "qwen2": _CONTRACTIONS + r"\p{N}" + _REST,
}
"""How families split text into words, as their own tokenizer.json files say."""
PATTERNS |= {name: PATTERNS["llama-bpe"] for name in ("llama3", "llama-v3", "smaug-bpe")}
PATTERNS |= {name: PATTERNS["qwen2"] for name in ("deepseek-r1-qwen", "megrez")}
_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "exaone")
_PLAIN = ("default", "gpt-2", "gpt2", "olmo", "mpt", "phi-2", "jina-en", "jina-es", "jina-de")
_SPECIAL = ("bos", "eos", "eot", "unknown", "padding", "seperator", "cls", "mask")
"""GGUF's names of special tokens, the third last spelt as it is there."""
_FACTORS = "rope_freqs.weight"
_HALVES = {0: "float32", 1: "float16", 30: "bfloat16"}
"""GGML's numbers for tensors that are not quantised, and the format that holds them exactly."""


class Unreadable(Exception):
    """Reason why a file cannot be converted."""


def convert(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file as safetensors with config, tokenizer and chat template.

    Quantised weights become bfloat16; a file that is not quantised keeps its number format.
    """
    architecture, width, split = _read_head(path)
    scaling = _read_scaling(path, architecture)
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        known = ", ".join(sorted(GGUF_SUPPORTED_ARCHITECTURES))
        raise Unreadable(f"transformers dequantises no {architecture!r} model; it knows {known}")
    dtype = getattr(torch, width)
    with _stand_alone(path) as alone:
        tokenizer = _open_tokenizer(alone, split)
        loaded = AutoModelForCausalLM.from_pretrained(
            str(alone.parent), dtype=dtype, gguf_file=alone.name, trust_remote_code=False
        )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if scaling:  # transformers leaves it out, and long contexts would be read wrongly
        config.rope_parameters = {**(config.rope_parameters or {}), **scaling}
    # A model that was read from GGUF refuses to be saved; one of the same shape does not.
    plain = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a GGUF file, as transformers' own class."""
    split = _read_head(path)[2]
    with _stand_alone(path) as alone:
        return _open_tokenizer(alone, split)


@contextmanager
def _stand_alone(path: Path) -> Iterator[Path]:
    """Link a file into an empty folder: transformers prefers a tokenizer.json that lies beside."""
    with temporary_folder("tokenizer") as folder:
        alone = folder / path.name
        alone.symlink_to(path.resolve())
        yield alone


def _open_tokenizer(path: Path, split: str | None) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(path.parent), gguf_file=path.name, trust_remote_code=False
    )
    if split is not None:
        _split_words(tokenizer.backend_tokenizer, split)
    return tokenizer


def _read_head(path: Path) -> tuple[str, str, str | None]:
    """Return architecture, number format to keep, and how a byte-pair tokenizer splits words."""
    from gguf import GGUFReader

    reader = GGUFReader(str(path))
    architecture = _read_text(reader, "general.architecture")
    if architecture is None:
        raise Unreadable("it names no architecture")
    if int(_read_value(reader, "split.count") or 1) > 1:
        raise Unreadable("it is one part of several; merge the parts into one file first")
    end = max(int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors)
    if end > path.stat().st_size:
        raise Unreadable("it ends early: copy it again")
    _check_tokens(reader)
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) > 1]
    kinds = {int(tensor.tensor_type) for tensor in matrices}
    width = _HALVES.get(kinds.pop(), "bfloat16") if len(kinds) == 1 else "bfloat16"
    kind = _read_text(reader, "tokenizer.ggml.model")
    split = (_read_text(reader, "tokenizer.ggml.pre") or "default") if kind == "gpt2" else None
    return architecture, width, split


def _check_tokens(reader: Any) -> None:
    """Refuse a special token beyond the vocabulary, and a vocabulary beyond the embeddings."""
    tokens = len(_read_value(reader, "tokenizer.ggml.tokens") or ())
    for name in _SPECIAL:
        number = _read_value(reader, f"tokenizer.ggml.{name}_token_id")
        if number is not None and tokens and not 0 <= int(number) < tokens:
            raise Unreadable(
                f"its {name} token has the id {int(number)}, its vocabulary {tokens} tokens"
            )
    rows = next((int(tensor.shape[-1]) for tensor in reader.tensors
                 if tensor.name == "token_embd.weight"), tokens)  # fmt: skip
    if rows < tokens:
        raise Unreadable(f"it has {tokens} tokens, and embeddings for {rows} of them")


def _read_scaling(path: Path, architecture: str) -> dict[str, Any]:
    """Return how positions are scaled, which transformers does not read; nothing if they are not.

    Llama 3.1's factors and a linear factor are known; of others the name is told.
    """
    import numpy as np
    from gguf import GGUFReader

    reader = GGUFReader(str(path))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    other = next((name for name in tensors if name.startswith("rope_factors")), None)
    if other is not None:
        raise Unreadable(f"it scales positions by a tensor {other!r}, which is not known here")
    kind = _read_text(reader, f"{architecture}.rope.scaling.type") or "none"
    if kind not in ("none", "linear"):
        raise Unreadable(f"it scales positions by {kind!r}, which is not known here")
    if kind == "linear":
        factor = _read_value(reader, f"{architecture}.rope.scaling.factor")
        return {"rope_type": "linear", "factor": float(factor or 1.0)}
    if _FACTORS not in tensors:
        return {}
    factors = np.asarray(tensors[_FACTORS].data, dtype=np.float32).reshape(-1)
    if np.allclose(factors, 1):
        return {}
    theta = float(_read_value(reader, f"{architecture}.rope.freq_base") or DEFAULT_THETA)
    scaling = find_scaling(factors, theta) if architecture == "llama" else None
    if scaling is None:
        raise Unreadable(f"its tensor {_FACTORS} scales positions in a way that is not known here")
    return scaling


def _read_value(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _read_text(reader: Any, name: str) -> str | None:
    value = _read_value(reader, name)
    return None if value is None else str(value)


def _split_words(backend: Any, name: str) -> None:
    """Have a byte-pair tokenizer split text as the file says; unknown ways are an error."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    if name in PATTERNS:
        words = Split(Regex(PATTERNS[name]), "isolated")
        pieces = [words, ByteLevel(add_prefix_space=False, use_regex=False)]
    elif name in _DIGITS_APART:
        pieces = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    elif name in _PLAIN:
        pieces = [ByteLevel(add_prefix_space=False)]
    else:
        raise Unreadable(
            f"its tokenizer splits words as {name!r}, which is not known here: ids would be wrong"
        )
    if PATTERNS.get(name) == PATTERNS["llama-bpe"]:
        backend.model.ignore_merges = True  # a word that is a token needs no merges, as llama.cpp
    backend.pre_tokenizer = Sequence(pieces)


def main() -> int:
    """Convert the file named on the command line; the last line of errors says why not."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        convert(path, folder)
    except Exception as error:
        named = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
        print(" ".join(named.split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
