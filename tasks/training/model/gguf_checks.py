"""Reads a GGUF file again and compares it with the model folder that it was written from.

Weights must lie within the rounding of their format, and texts, special tokens and a conversation
must become what they become in the folder. A file that fails is removed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from infra.models.gguf_conversion import read_tokenizer
from tasks.training.model.export_errors import BrokenGguf
from tasks.training.model.gguf_tensors import SourceTensor, list_tensors

_ALL_BELOW_BYTES = 2 << 30
_SAMPLED = 24
_PROBES = (
    "Hello, how are you?  It's 1234567 o'clock; 3.14 €, x1y22z333.",
    "  two  spaces\n\n and a line\t\r\n",
    "naïve café, Ünïcödé, 日本語, العربية, हिन्दी, 🙂👩\u200d🚀",
    "def f(x):\n    return x**2  # '''\n",
)
_TURNS = (
    {"role": "user", "content": " Who are you? "},
    {"role": "assistant", "content": "I am Ada, aged 36."},
    {"role": "user", "content": "Go on."},
)


def check_gguf(path: Path, folder: Path) -> None:
    """Compare a GGUF file with its model folder; raise :class:`BrokenGguf`, the file removed.

    Of a file above 2 GB a sample of the tensors is compared: all small ones, 24 of the others.
    """
    try:
        _check_tensors(path, list_tensors(folder))
        _check_tokenizer(path, folder)
    except BrokenGguf:
        path.unlink(missing_ok=True)
        raise


def _check_tensors(path: Path, sources: list[SourceTensor]) -> None:
    from gguf import GGUFReader

    stored = {tensor.name: tensor for tensor in GGUFReader(str(path)).tensors}
    missing = {item.name for item in sources} ^ (set(stored) - {"rope_freqs.weight"})
    if missing:
        raise _refuse(path, f"its tensors are not the model's: {', '.join(sorted(missing)[:5])}")
    for source in _choose(sources, path.stat().st_size):
        _compare(path, stored[source.name], source)


def _choose(sources: list[SourceTensor], size: int) -> list[SourceTensor]:
    if size <= _ALL_BELOW_BYTES:
        return sources
    large = [item for item in sources if len(item.shape) > 1]
    large.sort(key=lambda item: hashlib.blake2b(item.name.encode()).digest())
    return [*(item for item in sources if len(item.shape) == 1), *large[:_SAMPLED]]


def _compare(path: Path, tensor: Any, source: SourceTensor) -> None:
    import numpy as np
    from gguf import quants

    expected = source.read()
    found = quants.dequantize(np.asarray(tensor.data), tensor.tensor_type).reshape(-1)
    if tuple(reversed(tensor.shape.tolist())) != source.shape:
        raise _refuse(path, f"{tensor.name} has another shape than {source.key}")
    flat = expected.reshape(-1)
    kind = tensor.tensor_type.name
    if kind == "F32":
        allowed: Any = 0.0
    elif kind == "F16":
        allowed = np.abs(flat) * 2.0**-11 + 2.0**-25
    else:  # Q8_0: half a step of each block of 32, and the rounding of the step itself
        most = np.abs(flat.reshape(-1, 32)).max(axis=1)
        allowed = np.repeat(most / 127 * 0.5 + most * 2.0**-11 + 127 * 2.0**-25, 32)
    if (np.abs(found - flat) > allowed * 1.001).any():
        raise _refuse(path, f"{tensor.name} is not {source.key} within the rounding of {kind}")


def _check_tokenizer(path: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    read = read_tokenizer(path)
    special = [str(token.content) for token in own.added_tokens_decoder.values()]
    for text in (*_PROBES, *special, *(f"a{token} b 12" for token in special)):
        one, other = (item(text, add_special_tokens=False)["input_ids"] for item in (own, read))
        if one != other:
            raise _refuse(path, f"{text!r} becomes other tokens than in the model")
    if own.chat_template is None:
        return
    said = [
        item.apply_chat_template(list(_TURNS), tokenize=False, add_generation_prompt=True)
        for item in (own, read)
    ]
    if said[0] != said[1]:
        raise _refuse(path, "its chat template renders something else than the model's")


def _refuse(path: Path, what: str) -> BrokenGguf:
    return BrokenGguf(f"{path}: {what} → set training.gguf=none, or another format")
