"""Rewrites trained weights for serving: checks every tensor, casts it, and cuts files to size.

Tensors are read, checked and written one shard at a time, so memory is bounded by a shard however
large the model is. What must be there comes from the architecture, built without memory on
torch's meta device from the base model's config.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.training.model.export_errors import BrokenWeights, ChangedVocabulary

SHARD_BYTES = 4 * 10**9
_SHOWN = 5
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a model's weights must look like.

    ``tied`` maps a tensor to the one it shares its numbers with; it need not be stored.
    ``embeddings`` names the tensors with one row a token.
    """

    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str]
    embeddings: frozenset[str]


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """What was written: how many numbers, in which files."""

    parameters: int
    files: tuple[str, ...]


def read_architecture(config: Any) -> Architecture:
    """Return names and shapes of a causal model's weights from its transformers config."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    # Named as `save_pretrained` would: some models hold fused tensors that lie apart on disk.
    stored = revert_weight_conversion(model, dict(model.state_dict()))
    tied = dict(model.all_tied_weights_keys)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(layer.weight) for layer in layers if layer is not None}
    names = {name for name, value in model.named_parameters(remove_duplicate=False)
             if id(value) in found}  # fmt: skip
    return Architecture(
        shapes={name: tuple(value.shape) for name, value in stored.items()},
        tied={name: source for name, source in tied.items() if name in stored},
        embeddings=frozenset(names),
    )


def rewrite_weights(
    trained: Path,
    target: Path,
    architecture: Architecture,
    *,
    dtype: str,
    shard_bytes: int = SHARD_BYTES,
) -> WrittenWeights:
    """Check the safetensors files of a folder and write them anew as ``model*.safetensors``.

    Floating-point tensors are cast to ``dtype`` (a torch name such as ``bfloat16``); a tied tensor
    is left out. Raises :class:`BrokenWeights` or :class:`ChangedVocabulary` with every fault of
    names and shapes, or the first tensor that is not finite.
    """
    from safetensors.torch import save_file

    where = _find_tensors(trained)
    _check_names(trained, where, architecture)
    kept = sorted(name for name in where if name not in architecture.tied)
    _check_tied(where, architecture)
    shards = _plan_shards(kept, architecture, _count_bytes(dtype), shard_bytes)
    files: list[str] = []
    index: dict[str, str] = {}
    parameters = written = 0
    for number, names in enumerate(shards, start=1):
        shard = {name: _take(where[name], name, dtype) for name in names}
        file = (
            "model.safetensors"
            if len(shards) == 1
            else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        save_file(shard, str(target / file), metadata={"format": "pt"})
        files.append(file)
        index.update(dict.fromkeys(names, file))
        parameters += sum(value.numel() for value in shard.values())
        written += sum(value.numel() * value.element_size() for value in shard.values())
    if len(shards) > 1:
        table = {"metadata": {"total_size": written}, "weight_map": index}
        path = target / "model.safetensors.index.json"
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return WrittenWeights(parameters, tuple(files))


def _find_tensors(folder: Path) -> dict[str, Path]:
    """Map each tensor of a folder's safetensors files to its file."""
    from safetensors import SafetensorError, safe_open

    if (folder / _ADAPTER).is_file():
        raise BrokenWeights(f"{folder} holds adapters, not weights → merge_adapter() first")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                names = list(file.keys())
        except (SafetensorError, OSError) as error:
            raise BrokenWeights(f"{path} cannot be read: {error} → train from the last checkpoint "
                                "again, or copy the file anew") from error  # fmt: skip
        for name in names:
            if name in found:
                raise BrokenWeights(f"{name} is in {found[name].name} and in {path.name} → leave "
                                    f"one set of weights in {folder}")  # fmt: skip
            found[name] = path
    if not found:
        raise BrokenWeights(f"{folder} holds no *.safetensors → let training finish")
    return found


def _check_names(folder: Path, where: Mapping[str, Path], architecture: Architecture) -> None:
    from safetensors import safe_open

    shapes = architecture.shapes
    missing = sorted(set(shapes) - set(where) - set(architecture.tied))
    unknown = sorted(set(where) - set(shapes))
    faults: list[str] = []
    grown: list[str] = []
    for path in sorted(set(where.values())):
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                found = tuple(file.get_slice(name).get_shape())
                if name in shapes and found != shapes[name]:
                    changed = f"{name} is {list(found)} instead of {list(shapes[name])}"
                    (grown if name in architecture.embeddings else faults).append(changed)
    if grown and not (missing or unknown or faults):
        raise ChangedVocabulary(
            f"{folder}: {_list(grown)}: not the base model's tokens → do not resize embeddings"
        )
    told = [
        *([f"missing: {_list(missing)}"] if missing else []),
        *([f"unknown: {_list(unknown)}"] if unknown else []),
        *([f"misshapen: {_list([*faults, *grown])}"] if faults or grown else []),
    ]
    if told:
        raise BrokenWeights(f"{folder}: {'; '.join(told)} → train the model that the config names")


def _check_tied(where: Mapping[str, Path], architecture: Architecture) -> None:
    """Refuse a stored copy of a tied tensor that differs: a reload would lose it silently."""
    import torch

    for name, source in architecture.tied.items():
        if name in where and not torch.equal(
            _read(where[name], name), _read(where[source], source)
        ):
            raise BrokenWeights(
                f"{name} differs from {source}, but the config ties the two → tie them in training"
            )


def _take(path: Path, name: str, dtype: str) -> Any:
    import torch

    tensor = _read(path, name)
    if not tensor.is_floating_point():
        return tensor.contiguous()
    cast = tensor.to(getattr(torch, dtype)).contiguous()
    # Judged after the cast: a number that is finite in fp32 may not be in the exported format.
    if not bool(torch.isfinite(cast).all()):
        bad = int((~torch.isfinite(cast)).sum())
        raise BrokenWeights(
            f"{name} holds {bad:,} numbers that are not finite as {dtype} → look at loss and "
            "gradient norm in the metrics, lower learning_rate, and train again"
        )
    return cast


def _read(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor(name)


def _plan_shards(
    names: Iterable[str], architecture: Architecture, width: int, most: int
) -> list[list[str]]:
    """Fill files with tensors in order of their names; a tensor larger than a file gets its own."""
    shards: list[list[str]] = []
    filled = 0
    for name in names:
        size = width
        for length in architecture.shapes[name]:
            size *= length
        if not shards or (filled and filled + size > most):
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _count_bytes(dtype: str) -> int:
    import torch

    return int(getattr(torch, dtype).itemsize)


def _list(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
