"""Says what is wrong with a model folder before anything starts: config, weights, tokenizer, code.

Headers, indices and the tokenizer are read, neither PyTorch nor transformers imported: an engine
would tell the same after a minute and a half, a training after all its rows were made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.models.known_architectures import can_serve, can_train, has_tokenizer
from infra.models.tokenizer_json import open_tokenizer
from infra.models.weight_files import (
    Tensor,
    UnsoundWeights,
    find_pickles,
    find_unfinite,
    is_pointer,
    list_weight_files,
    read_header,
)

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_ANY_CLASS = ("", "PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer")
_NO_CODE = (
    "take a model that transformers knows by itself, or serve this one elsewhere and name it as an"
    " endpoint"
)


@dataclass(frozen=True, slots=True)
class ModelFault:
    """What is wrong with a model folder, and what to do about it."""

    what: str
    todo: str


def read_model_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config, with what a multimodal one nests in ``text_config`` on top.

    Raises :class:`ValueError` where it is no JSON object.
    """
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return lift_text_config(found)


def lift_text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose language model's own part is on top where it says nothing itself."""
    inner = config.get("text_config") or config.get("llm_config")
    return {**inner, **config} if isinstance(inner, dict) else dict(config)


def find_model_faults(
    folder: Path, *, served: bool, trained: bool, weights: bool = True
) -> Iterator[ModelFault]:
    """Yield everything that would keep a model from being served here or fine-tuned.

    ``weights`` is false for a folder that holds all but them.
    """
    for name in ("config.json", "tokenizer.json", "tokenizer.model"):
        if is_pointer(folder / name):
            yield ModelFault(
                f"{name} is a Git LFS pointer, not the file it points to",
                "run `git lfs pull` there",
            )
            return
    try:
        config = read_model_config(folder)
    except FileNotFoundError:
        yield from _find_missing_config(folder)
        return
    except (OSError, ValueError) as error:
        yield ModelFault(
            f"config.json is not a JSON object: {error}", "copy the model's config again"
        )
        return
    yield from _find_architecture_faults(config, served=served, trained=trained)
    tensors: dict[str, Tensor] = {}
    if weights and (any(folder.glob("*.safetensors")) or not any(folder.glob("*.gguf"))):
        try:
            tensors = _read_weights(folder)
        except UnsoundWeights as error:
            yield ModelFault(str(error), _fix_weights(str(error)))
    yield from _find_tokenizer_faults(folder, config, tensors)


def _find_missing_config(folder: Path) -> Iterator[ModelFault]:
    if (folder / "adapter_config.json").is_file():
        yield ModelFault(
            "holds a LoRA adapter, not a model", "merge it into its base, and give that folder"
        )
    else:
        yield ModelFault("has no config.json", "give a model folder")


def _find_architecture_faults(
    config: Mapping[str, Any], *, served: bool, trained: bool
) -> Iterator[ModelFault]:
    kind = str(config.get("model_type") or "")
    architecture = str((config.get("architectures") or [""])[0])
    if not kind:
        yield ModelFault(
            "config.json names no model_type, by which it is loaded",
            "copy the model's config again",
        )
        return
    unknown = (served and not can_serve(architecture, kind)) or (trained and not can_train(kind))
    if unknown and config.get("auto_map"):
        code = next(iter(map(str, dict(config["auto_map"]).values())), "")
        yield ModelFault(
            f"needs code of its own ({code.partition('.')[0]}.py), which is never run here",
            _NO_CODE,
        )
        return
    if (unknown or trained) and config.get("is_encoder_decoder"):
        yield ModelFault(
            f"is an encoder-decoder ({kind}), not a causal language model",
            "take a causal language model",
        )
    elif unknown:
        yield ModelFault(
            f"its architecture ({architecture or kind}) is no causal language model that the"
            f" installed {'vLLM' if served and not trained else 'transformers'} knows",
            "take another model, or install a version that knows it",
        )
    if trained and config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "quantised")
        yield ModelFault(
            f"its weights are quantised ({method}), so they cannot be fine-tuned",
            "take the model with its full weights",
        )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the headers of all weights; :class:`UnsoundWeights` tells what is wrong."""
    files = list_weight_files(folder)
    if not files:
        pickles = find_pickles(folder)
        if pickles:
            raise UnsoundWeights(
                f"has pickled weights only ({pickles[0]}), which run code when they are read"
            )
        raise UnsoundWeights("has no weights (*.safetensors)")
    tensors: dict[str, Tensor] = {}
    for path in files:
        header = read_header(path)
        broken = find_unfinite(path, header)
        if broken is not None:
            raise UnsoundWeights(f"{broken} in {path.name} holds NaN or infinity")
        tensors |= header
    return tensors


def _fix_weights(what: str) -> str:
    if "Git LFS" in what:
        return "run `git lfs pull` there"
    if "pickled" in what:
        return "take or convert to safetensors"
    return "copy the model's weights again" if "NaN" not in what else "take sound weights"


def _find_tokenizer_faults(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[ModelFault]:
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        yield ModelFault("has no tokenizer", "copy tokenizer.json and its config in")
        return
    told = _read_object(folder / "tokenizer_config.json")
    if told is None:
        yield ModelFault(
            "tokenizer_config.json is not a JSON object", "copy the model's tokenizer again"
        )
        return
    name = str(told.get("tokenizer_class") or "")
    own_code = isinstance(told.get("auto_map"), dict) and "AutoTokenizer" in told["auto_map"]
    if (
        own_code
        and name not in _ANY_CLASS
        and not has_tokenizer(name, str(config.get("model_type") or ""))
    ):
        yield ModelFault(
            f"its tokenizer ({name}) needs code of its own, which is never run here", _NO_CODE
        )
        return
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        known = _count_ids(path)
    except Exception as error:  # the tokenizers library raises nothing narrower
        yield ModelFault(
            f"tokenizer.json cannot be read: {str(error)[:200]}", "copy the model's tokenizer again"
        )
        return
    yield from _compare_vocabularies(known, config, tensors)


def _compare_vocabularies(
    known: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[ModelFault]:
    size = config.get("vocab_size")
    rows = next(
        (
            item.shape[0]
            for name, item in tensors.items()
            if name.endswith(_EMBEDDINGS) and item.shape
        ),
        None,
    )
    packed = config.get("quantization_config") is not None
    if rows is not None and isinstance(size, int) and rows < size and not packed:
        yield ModelFault(
            f"config.json names a vocabulary of {size:,}, its weights hold {rows:,}",
            "take the config that belongs to the weights",
        )
        return
    least = rows if rows is not None and not packed else size
    if isinstance(least, int) and known > least:
        yield ModelFault(
            f"its tokenizer knows {known:,} tokens, its vocabulary holds {least:,}",
            "take the tokenizer that belongs to the model",
        )


def _count_ids(path: Path) -> int:
    """Return the largest id of a tokenizer, plus one."""
    vocabulary = open_tokenizer(path).get_vocab(with_added_tokens=True)
    return max(vocabulary.values(), default=-1) + 1


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
