"""Takes over how a base model generates, without what no model may be saved with.

Public models ship a ``temperature`` without ``do_sample``; transformers reads that and refuses to
write it, which would be found out when a training is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "generation_config.json"
_FIRST = ("do_sample", "num_beams", "return_dict_in_generate")
"""What others are valid with or not."""
_SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 50, "typical_p": 1.0, "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0, "min_p": None, "top_h": None,
}  # fmt: skip
_OUTPUTS = ("output_scores", "output_attentions", "output_hidden_states", "output_logits")
_COUNTS = {"max_new_tokens": 1, "pad_token_id": 0}
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id",
        "forced_eos_token_id", "decoder_start_token_id")  # fmt: skip
_BEAMS = {"early_stopping": False, "length_penalty": 1.0}


def name_invalid(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that say nothing without another, by transformers' rules of today.

    It is for people, before a run; :func:`clean_settings` asks transformers itself.
    """
    idle: dict[str, Any] = {}
    if settings.get("do_sample") is not True:
        idle |= _SAMPLING
    if settings.get("num_beams") in (None, 1):
        idle |= _BEAMS
    if not settings.get("return_dict_in_generate"):
        idle |= dict.fromkeys(_OUTPUTS, False)
    found = {name for name, plain in idle.items() if settings.get(name) not in (None, plain)}
    found |= {name for name in _COUNTS if _is_below(settings.get(name), _COUNTS[name])}
    found |= {name for name in _IDS if not _is_id(settings.get(name))}
    return sorted(found)


def _is_id(value: object) -> bool:
    """Tell token ids, one or several, from tokens spelled out; none is one as well."""
    ids = value if isinstance(value, list | tuple) else [0 if value is None else value]
    return all(isinstance(item, int) and not isinstance(item, bool) for item in ids)


def _is_below(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value < least


def read_settings(folder: Path) -> dict[str, Any]:
    """Return a model folder's generation settings; none where there is no such object."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def clean_settings(settings: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return a ``GenerationConfig`` that can be saved, and the settings that were left out.

    Every setting is tried with those before it, so that what is left out is what spoils them.
    """
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    ordered = [name for name in _FIRST if name in settings]
    for name in [*ordered, *(name for name in settings if name not in ordered)]:
        known = name not in _IDS or _is_id(settings[name])  # transformers itself takes any here
        if known and _is_valid({**kept, name: settings[name]}):
            kept[name] = settings[name]
        else:
            dropped.append(name)
    from transformers import GenerationConfig

    return GenerationConfig.from_dict(kept), sorted(dropped)


def _is_valid(settings: Mapping[str, Any]) -> bool:
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_dict(dict(settings)).validate(strict=True)
    except (ValueError, TypeError, AttributeError):
        return False
    return True
