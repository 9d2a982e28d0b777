"""Loads the base model for training and writes the trained weights as plain safetensors."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from infra.models.folders import fetch_model
from tasks.training.ranks.adapters import merge_adapter
from tasks.training.ranks.job import TrainJob


def load_base(job: TrainJob, *, on_gpu: bool) -> Any:
    """Load the base model in the number format it trains in.

    Under DeepSpeed with bf16 the model itself is bf16 and DeepSpeed keeps fp32 masters; without
    DeepSpeed the weights stay fp32 and autocast computes in bf16. Must run after the training
    arguments exist: under ZeRO-3 every rank then keeps only its shard while loading.
    """
    import torch
    from transformers import AutoModelForCausalLM

    bf16 = job.config.precision == "bf16" and job.deepspeed is not None
    return AutoModelForCausalLM.from_pretrained(
        fetch_model(job.base, job.revision),
        revision=job.revision or "main",
        dtype=torch.bfloat16 if bf16 else torch.float32,
        attn_implementation=choose_attention(job.config.attention, on_gpu=on_gpu),
        use_cache=False,
        trust_remote_code=False,
    )


def choose_attention(wanted: str, *, on_gpu: bool) -> str:
    """Return the attention kernel: ``auto`` takes a variable-length one where there is one.

    sdpa is exact for packed rows but builds a dense mask, which costs at long rows on a GPU.
    """
    if wanted != "auto":
        return wanted
    if not on_gpu:
        return "sdpa"
    installed = importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if installed else "flex_attention"


def make_lora_config(job: TrainJob, model: Any) -> Any | None:
    """Return the adapters to train; ``None`` trains all weights.

    The stop token's embedding row is trained too: an untrained one (Llama-3's base models) is not
    learnt by adapters alone, and the model would never end its answers.
    """
    lora = job.config.lora
    if lora is None:
        return None
    from peft import LoraConfig, TaskType

    stop = {"embed_tokens": [job.stop_id]}
    if not model.config.get_text_config().tie_word_embeddings:
        stop["lm_head"] = [job.stop_id]
    scale: Any = lora.alpha  # peft declares an integer and takes any number
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=scale,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        trainable_token_indices=stop if lora.train_stop_token else None,
    )


def save_weights(trainer: Any, folder: Path, job: TrainJob, dtype: str) -> None:
    """Write the trained weights as plain safetensors to a local folder, adapters merged.

    Every rank must call it; only rank 0 writes. Parameters are assembled one by one, from the
    fp32 masters where there are any: ``float32`` is what the optimiser sees, bf16 is rounded once.
    """
    import torch

    model, main = trainer.model, trainer.is_world_process_zero()
    lora = job.config.lora is not None
    number = torch.float32 if lora else getattr(torch, dtype)
    weights: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if lora and not parameter.requires_grad:
            continue
        whole = _assemble(parameter) if trainer.is_deepspeed_enabled else parameter.detach()
        if main:
            weights[name] = whole.to("cpu", number, copy=True)
    if not main:
        return
    if lora:
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        # Under ZeRO-3 the base model would be loaded in shards, and wait for ranks that do not.
        unset_hf_deepspeed_config()
        adapter = folder.parent / f".{folder.name}.adapter"
        model.save_pretrained(adapter, state_dict=weights)
        try:
            merge_adapter(fetch_model(job.base, job.revision), job.revision, adapter, folder)
        finally:
            shutil.rmtree(adapter)
        return
    stored = model.state_dict().keys()
    weights |= {name: value.cpu() for name, value in model.named_buffers() if name in stored}
    model.save_pretrained(folder, state_dict=weights, max_shard_size="4GB")


def _assemble(parameter: Any) -> Any:
    """Return a whole parameter, in fp32 if it is trained; a collective operation."""
    from deepspeed.runtime.zero.partition_parameters import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    master = safe_get_full_fp32_param(parameter) if parameter.requires_grad else None
    if master is not None:
        return master
    if hasattr(parameter, "ds_id"):
        with GatheredParameters([parameter]):
            return parameter.detach().clone()
    return parameter.detach()
