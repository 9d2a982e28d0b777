"""Writes an exported model folder as one GGUF file, for llama.cpp and the programs built on it.

Run as ``python -m tasks.training.model.gguf_export FOLDER q8_0|f16`` it does so for an export that
is there already. Tensors go through one by one, so memory holds one of them, not the model.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.errors import ConfigError, OpenCharacterError
from infra.models.rope_scaling import DEFAULT_THETA, LLAMA3, compute_factors
from infra.models.soundness import read_model_config
from tasks.training.model.export_errors import BrokenWeights
from tasks.training.model.gguf_checks import check_gguf
from tasks.training.model.gguf_fitness import ARCHITECTURES, find_gguf_problems, name_split
from tasks.training.model.gguf_tensors import list_tensors

Quantisation = Literal["q8_0", "f16"]

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
"""llama.cpp's kinds of tokens."""


@dataclass(frozen=True, slots=True)
class GgufPlan:
    """What goes into a GGUF file besides the model: its number format, its name, its licence."""

    kind: Quantisation
    name: str
    licence: str = ""


def name_gguf(kind: str) -> str:
    """Return the name of the GGUF file in an export."""
    return f"model-{kind.upper()}.gguf"


def write_gguf(folder: Path, plan: GgufPlan) -> Path:
    """Write the model of a folder as a GGUF file beside it, whole or not at all.

    Raises :class:`ConfigError` for a model that GGUF or this writer cannot say, and
    :class:`BrokenWeights` for numbers that do not fit the format.
    """
    from gguf import GGUFWriter

    problems = list(find_gguf_problems(folder))
    if problems:
        raise ConfigError(*problems)
    config = read_model_config(folder)
    target = folder / name_gguf(plan.kind)
    scratch = target.with_name(f".{target.name}.tmp")
    writer = GGUFWriter(scratch, ARCHITECTURES[config["model_type"]])
    try:
        _describe(writer, config, plan)
        _add_vocabulary(writer, folder, int(config["vocab_size"]))
        _write_tensors(writer, folder, config, plan.kind)
        writer.close()
        scratch.replace(target)
    finally:
        writer.close()
        scratch.unlink(missing_ok=True)
    return target


def _describe(writer: Any, config: dict[str, Any], plan: GgufPlan) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType, RopeScalingType

    heads = int(config["num_attention_heads"])
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    writer.add_type("model")
    writer.add_name(plan.name)
    if plan.licence:
        writer.add_license(plan.licence)
    half = plan.kind == "f16"
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if half else LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    theta = rope.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA
    writer.add_rope_freq_base(float(theta))
    width = _head_width(config)
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    if _rope_kind(rope) == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _head_width(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope_kind(rope: dict[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [_UNUSED] * size
    for token, number in content["model"]["vocab"].items():
        tokens[number], kinds[number] = token, _NORMAL
    for added in content.get("added_tokens", ()):
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name_split(content))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    )
    for name in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    if tokenizer.eos_token_id is not None:
        writer.add_eot_token_id(tokenizer.eos_token_id)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(bool(ids) and ids[-1] == tokenizer.eos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _write_tensors(writer: Any, folder: Path, config: dict[str, Any], kind: Quantisation) -> None:
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    found = list_tensors(folder)
    kinds = {}
    for tensor in found:
        wanted = GGMLQuantizationType.F32
        if len(tensor.shape) > 1:
            wanted = GGMLQuantizationType[kind.upper()]
            if tensor.shape[-1] % GGML_QUANT_SIZES[wanted][0]:
                wanted = GGMLQuantizationType.F16  # no whole number of blocks in a row
        kinds[tensor.name] = wanted
        block, width = GGML_QUANT_SIZES[wanted]
        size = math.prod(tensor.shape) // block * width
        writer.add_tensor_info(
            tensor.name, tensor.shape, _numpy_type(wanted.name), size, raw_dtype=wanted
        )
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in found:
        with np.errstate(over="ignore"):  # judged below, with the tensor's name
            values = quants.quantize(tensor.read(), kinds[tensor.name])
        _check_finite(values, tensor.name, kinds[tensor.name].name)
        writer.write_tensor_data(values)
    if factors is not None:
        writer.write_tensor_data(factors)


def _numpy_type(kind: str) -> Any:
    import numpy as np

    # Shapes are given in numbers, not in bytes, so blocks must not look like bytes here.
    return np.dtype(np.float16 if kind == "F16" else np.float32)


def _check_finite(values: Any, name: str, kind: str) -> None:
    import numpy as np

    scales = values
    if values.dtype == np.uint8:  # blocks of Q8_0: a half-precision scale, then 32 numbers
        scales = values.reshape(-1, 34)[:, :2].copy().view(np.float16)
    if not np.isfinite(scales).all():
        raise BrokenWeights(
            f"{name} holds numbers that are too large for GGUF's {kind} → choose another "
            "training.gguf, or none"
        )


def _rope_factors(config: dict[str, Any]) -> Any:
    """Return by what Llama 3.1's scaling divides each rotary frequency; ``None`` for others."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if _rope_kind(rope) != LLAMA3:
        return None
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA)
    return compute_factors(rope, theta, _head_width(config))


def main() -> int:
    """Write the GGUF file of the export that the command line names, and check it."""
    if len(sys.argv) != 3 or sys.argv[2] not in ("q8_0", "f16"):
        print("usage: python -m tasks.training.model.gguf_export FOLDER q8_0|f16", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    kind: Quantisation = "f16" if sys.argv[2] == "f16" else "q8_0"
    try:
        path = write_gguf(folder, GgufPlan(kind, folder.resolve().name))
        check_gguf(path, folder)
    except OpenCharacterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
