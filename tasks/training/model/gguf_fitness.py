"""Says whether a model can be written as a GGUF file, by its config and tokenizer files alone.

llama.cpp knows a tokenizer by names, not by its parts: what it would read otherwise than the model
learnt is refused here, before anything starts, rather than written wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.errors import Problem
from infra.models.gguf_conversion import PATTERNS
from infra.models.soundness import read_model_config

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}
"""GGUF's name of the architecture of each kind of model (``model_type``) that can be written."""

_ROPES = ("default", "linear", "llama3")
_TODO = "set training.gguf=none, and convert the exported folder with llama.cpp's own script"


def find_gguf_problems(folder: Path) -> Iterator[Problem]:
    """Yield what keeps a model folder from being written as GGUF; what it lacks is told elsewhere.

    Reads ``config.json`` and ``tokenizer.json`` and imports nothing for it.
    """
    try:
        config = read_model_config(folder)
    except (OSError, ValueError):
        return
    found = list(_find_config_faults(config))
    if not found:
        try:
            tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            tokenizer = {"model": {"type": "SentencePiece (no tokenizer.json)"}}
        except (OSError, ValueError):
            return
        found.extend(_find_tokenizer_faults(tokenizer, int(config.get("vocab_size") or 0)))
    yield from (Problem("training.gguf", f"{folder}: {what}", _TODO) for what in found)


def name_split(tokenizer: Mapping[str, Any]) -> str | None:
    """Return llama.cpp's name of how a byte-level BPE tokenizer splits words, ``None`` if none.

    ``tokenizer`` is the content of ``tokenizer.json``.
    """
    outer = tokenizer.get("pre_tokenizer") or {}
    steps = outer.get("pretokenizers", []) if outer.get("type") == "Sequence" else [outer]
    kinds = [step.get("type") for step in steps]
    if not kinds or kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    by_regex = bool(steps[-1].get("use_regex", True))
    if kinds == ["ByteLevel"] and by_regex:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and by_regex and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not by_regex:
        split = steps[0]
        if split.get("behavior") == "Isolated" and not split.get("invert"):
            pattern = (split.get("pattern") or {}).get("Regex")
            return next((name for name, known in PATTERNS.items() if known == pattern), None)
    return None


def _find_config_faults(config: Mapping[str, Any]) -> Iterator[str]:
    kind = str(config.get("model_type") or "")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        named = (config.get("architectures") or [kind])[0]
        yield f"its architecture ({named}) is not written as GGUF; known: {known}"
        return
    if kind != "qwen2" and (config.get("attention_bias") or config.get("mlp_bias")):
        yield "a Llama with biases is not written as GGUF"
    if config.get("hidden_act", "silu") != "silu":
        yield f"its activation ({config['hidden_act']}) is not written as GGUF, only silu"
    windowed = config.get("use_sliding_window", kind == "mistral")
    if windowed and config.get("sliding_window"):
        yield "its attention has a sliding window, which llama.cpp would leave out"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    name = str(rope.get("rope_type") or rope.get("type") or "default")
    if name not in _ROPES:
        yield f"its rotary embedding ({name}) is not written as GGUF; known: {', '.join(_ROPES)}"
    if float(rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1))) != 1:
        yield "its rotary embedding covers a part of each head only"


def _find_tokenizer_faults(tokenizer: Mapping[str, Any], size: int) -> Iterator[str]:
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        kind = "SentencePiece-like BPE" if model.get("byte_fallback") else model.get("type")
        yield f"its tokenizer ({kind}) is not written as GGUF, only byte-level BPE"
        return
    split = name_split(tokenizer)
    if split is None:
        yield "its tokenizer splits words in a way that llama.cpp has no name for here"
    form = (tokenizer.get("normalizer") or {}).get("type")
    if form is not None and (form, split) != ("NFC", "qwen2"):
        yield f"its tokenizer normalises text ({form}), which llama.cpp would leave out"
    ids = dict(model.get("vocab") or {})
    ids |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}
    last = max(ids, key=lambda token: int(ids[token]), default=None)
    if size and last is not None and ids[last] >= size:
        yield f"its token {last!r} has the id {ids[last]}, beyond its vocabulary of {size} tokens"
    for token in tokenizer.get("added_tokens") or ():
        if any(token.get(flag) for flag in ("lstrip", "rstrip", "single_word")):
            yield (
                f"its token {token.get('content')!r} takes white space or whole words only, "
                "which GGUF cannot say"
            )
            return
