"""Reads the tensors of a model folder under the names and in the order that a GGUF file wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.models.soundness import read_model_config
from tasks.training.model.export_errors import BrokenWeights
from tasks.training.model.gguf_fitness import ARCHITECTURES


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor of a model folder under the name and in the order that llama.cpp wants."""

    name: str
    shape: tuple[int, ...]
    path: Path
    key: str
    heads: int

    def read(self) -> Any:
        """Return the numbers in fp32, with the halves of each rotary head interleaved."""
        from safetensors import safe_open

        with safe_open(str(self.path), framework="pt") as file:
            values = file.get_tensor(self.key).float().numpy()
        if not self.heads:
            return values
        rows = values.shape[0]
        halves = values.reshape(self.heads, 2, rows // self.heads // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape).copy()


def list_tensors(folder: Path) -> list[SourceTensor]:
    """Return the tensors of a model folder as a GGUF file of it names and orders them."""
    return list(_list_tensors(folder, read_model_config(folder)))


def _list_tensors(folder: Path, config: dict[str, Any]) -> Iterator[SourceTensor]:
    import gguf
    from safetensors import safe_open

    kind = ARCHITECTURES[config["model_type"]]
    architecture = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}[kind]
    names = gguf.get_tensor_name_map(architecture, int(config["num_hidden_layers"]))
    heads = int(config["num_attention_heads"])
    rotary = {
        "q_proj.weight": heads,
        "k_proj.weight": int(config.get("num_key_value_heads") or heads),
    }
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for key in sorted(file.keys()):
                if key == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                name = names.get_name(key, try_suffixes=(".weight", ".bias"))
                if name is None:
                    raise BrokenWeights(
                        f"{folder}: GGUF has no name for {key} → training.gguf=none"
                    )
                turned = rotary.get(".".join(key.split(".")[-2:]), 0) if kind == "llama" else 0
                shape = tuple(file.get_slice(key).get_shape())
                yield SourceTensor(name, shape, path, key, turned)
