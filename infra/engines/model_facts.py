"""Says how large a model is, from its folder, the local hub cache or a small table; no network.

What is not known stays unknown (``None``): a plan then says less, and a run asks the hub.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.engines.config import ModelConfig
from infra.models.folders import measure_weights, peek_model
from infra.models.gguf_models import is_gguf
from infra.models.hub_models import names_hub_model
from infra.models.hub_snapshots import find_hub_cache, name_folder
from infra.models.soundness import read_model_config
from infra.models.weight_files import read_header
from infra.store.storage import is_remote

_COMMIT = re.compile("[0-9a-f]{40}")
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Shape of a model.

    Attributes:
        context: Longest context in tokens.
        parameters: Weights, tied ones once.
        layers: Transformer blocks.
        hidden: Width of the residual stream.
        vocabulary: Rows of the embedding.
        bytes: Size of the weight files as published.
    """

    context: int
    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    bytes: int


def _in_bfloat16(
    context: int, parameters: int, layers: int, hidden: int, vocabulary: int
) -> ModelFacts:
    return ModelFacts(context, parameters, layers, hidden, vocabulary, 2 * parameters)


_TABLE = {
    "meta-llama/Meta-Llama-3-8B": _in_bfloat16(8192, 8_030_261_248, 32, 4096, 128_256),
    "meta-llama/Meta-Llama-3-8B-Instruct": _in_bfloat16(8192, 8_030_261_248, 32, 4096, 128_256),
    "meta-llama/Meta-Llama-3-70B-Instruct": _in_bfloat16(8192, 70_553_706_496, 80, 8192, 128_256),
    "meta-llama/Llama-3.3-70B-Instruct": _in_bfloat16(131_072, 70_553_706_496, 80, 8192, 128_256),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": _in_bfloat16(262_144, 30_532_122_624, 48, 2048, 151_936),
    "Qwen/Qwen2.5-0.5B-Instruct": _in_bfloat16(32_768, 494_032_768, 24, 896, 151_936),
    "Qwen/Qwen2.5-1.5B-Instruct": _in_bfloat16(32_768, 1_543_714_304, 28, 1536, 151_936),
}
"""The models that shipped configurations name. Source: their own config.json and weight index."""


def find_model_facts(config: ModelConfig) -> ModelFacts | None:
    """Return a model's shape if it is known here; of endpoints and scripts nothing is."""
    if config.engine != "vllm":
        return None
    folder = find_model_folder(config)
    afar = is_remote(config.model) and not is_gguf(config.model)
    size = measure_weights(config.model) if afar else None
    found = read_folder_facts(folder, size) if folder is not None else None
    return found or _TABLE.get(config.model)


def is_hub_name(config: ModelConfig) -> bool:
    """Tell whether a model is named as the hub names it: ``owner/name``, and no folder."""
    return config.engine == "vllm" and names_hub_model(config.model)


def find_model_folder(config: ModelConfig) -> Path | None:
    """Return the folder a model lies in: its own, or its snapshot in the local hub cache."""
    if config.engine != "vllm":
        return None
    given = peek_model(config.model).expanduser()
    if given.is_dir():
        return given
    commit = find_cached_commit(config)
    if commit is None:
        return None
    folder = _cache_folder(config.model) / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def find_cached_commit(config: ModelConfig) -> str | None:
    """Return the commit that is given, or that a hub name stands for in the local cache."""
    revision = config.revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    if not is_hub_name(config):
        return None
    folder = _cache_folder(config.model)
    reference = folder / "refs" / revision
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    return revision if (folder / "snapshots" / revision).is_dir() else None


def read_folder_facts(folder: Path, size: int | None = None) -> ModelFacts | None:
    """Read a model folder: its config, and the headers of its weight files; never the weights.

    ``size`` is that of weights in bytes that lie elsewhere.
    """
    try:
        config = read_model_config(folder)
        shape = [
            int(config[name])
            for name in (
                "max_position_embeddings",
                "num_hidden_layers",
                "hidden_size",
                "vocab_size",
            )
        ]
        if size is None:
            parameters, size = _measure_weights(folder, config)
        else:
            parameters = size // _read_width(config)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    context, layers, hidden, vocabulary = shape
    return ModelFacts(context, parameters, layers, hidden, vocabulary, size)


def _measure_weights(folder: Path, config: dict[str, Any]) -> tuple[int, int]:
    """Return parameters and bytes; pickled weights tell their size only, so that is divided."""
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return sum(map(_count_parameters, files)), sum(path.stat().st_size for path in files)
    size = sum(path.stat().st_size for path in folder.glob("*.bin"))
    return size // _read_width(config), size


def _read_width(config: dict[str, Any]) -> int:
    """Return the bytes of a weight."""
    return _WIDTHS[str(config.get("torch_dtype") or config.get("dtype") or "float32")]


def _count_parameters(path: Path) -> int:
    return sum(math.prod(tensor.shape) for tensor in read_header(path).values())


def _cache_folder(name: str) -> Path:
    return find_hub_cache() / name_folder(name)
