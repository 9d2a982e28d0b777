"""Reads a DeepSpeed configuration, refuses what would harm, and fills in what follows from ours."""

from __future__ import annotations

import json
from typing import Any

from infra.errors import ConfigError, Problem
from infra.paths import require_path
from tasks.training.config import TrainingConfig
from tasks.training.rows.batching import BatchPlan

PLAIN = "ddp"
"""In place of a file: no DeepSpeed, plain data parallelism, for comparison."""

_OURS = {
    "optimizer": "the optimiser is training.adam_*, training.weight_decay",
    "scheduler": "the schedule is training.learning_rate, final_learning_rate, warmup_share",
    "fp16": "training.precision knows bf16 and fp32",
}
_LOSSY = ("bf16_master_weights_and_grads", "bf16_optimizer_states")
_KEY = "training.deepspeed"
_DATA_TYPES = "data_types"
_GROUPS = "parameter_groups"
_BY_LAYER = "by_layer"
"""Our own key in a file, which DeepSpeed passes over: the optimiser steps layer after layer.

ZeRO-1 and -2 hold the fp32 gradient of one parameter group at a time: 30 GiB where all weights of
an 8 B model are one.
"""


def load_deepspeed_config(name: str) -> dict[str, Any] | None:
    """Read and check a configuration file; ``None`` for plain data parallelism."""
    if name == PLAIN:
        return None
    path = require_path(name, _KEY)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(Problem(f"{_KEY}: {path}", f"no JSON: {error}", "fix it")) from error
    if not isinstance(config, dict):
        raise ConfigError(Problem(f"{_KEY}: {path}", "not an object", "see configs/deepspeed"))
    problems = [
        Problem(f"{_KEY}: {path}: {key}", "belongs to the trainer", f"remove it: {why}")
        for key, why in _OURS.items()
        if key in config
    ]
    if config.get(_GROUPS, _BY_LAYER) != _BY_LAYER:
        what, todo = f"{config[_GROUPS]!r} is no way to group", f"{_BY_LAYER}, or leave it out"
        problems.append(Problem(f"{_KEY}: {path}: {_GROUPS}", what, todo))
    problems += [
        Problem(
            f"{_KEY}: {path}: bf16.{key}",
            "masters in bf16 do not learn at small rates: rounding discards 85 % of updates of"
            " 1e-5 to weights around 0.02",
            "remove it; to save memory shard or offload the optimiser (see configs/deepspeed)",
        )
        for key in _LOSSY
        if config.get("bf16", {}).get(key)
    ]
    if problems:
        raise ConfigError(*problems)
    return config


def fill_deepspeed_config(
    config: dict[str, Any], training: TrainingConfig, plan: BatchPlan
) -> dict[str, Any]:
    """Add batch sizes, precision and clipping, which are said once, in the training knobs.

    ``gradient_clipping`` is always written because its default changed between versions.
    """
    bf16 = {"enabled": training.precision == "bf16"}
    return {
        **{key: value for key, value in config.items() if key != _DATA_TYPES},
        **_add_up(config, training),
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_clipping": training.max_grad_norm,
        "bf16": {**config.get("bf16", {}), **bf16},
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
        # torch's AdamW, which DeepSpeed has not measured but shards all the same; with optimiser
        # states on the CPU it needs no compiler, where DeepSpeed's own CPUAdam builds itself.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def _add_up(config: dict[str, Any], training: TrainingConfig) -> dict[str, Any]:
    """Return in what format micro-batches are added up: fp32 where the stage shards gradients.

    DeepSpeed's default is the weights' format, and 64 addends in 8 significant bits lose what is
    small beside their sum. Under ZeRO-1 it would take another optimiser of DeepSpeed's, with
    gradients of 4 bytes on every rank.
    """
    shards = config.get("zero_optimization", {}).get("stage", 0) >= 2
    if training.precision != "bf16" or (_DATA_TYPES not in config and not shards):
        return {}
    return {_DATA_TYPES: {"grad_accum_dtype": "fp32", **config.get(_DATA_TYPES, {})}}


def groups_by_layer(config: dict[str, Any] | None) -> bool:
    """Tell whether each layer's parameters are a group of their own."""
    return config is not None and config.get(_GROUPS) == _BY_LAYER


def name_layout(config: dict[str, Any] | None) -> str:
    """Return where states lie: ``ddp``, or ``zero-`` and the stage; and whether by layer."""
    if config is None:
        return PLAIN
    stage = config.get("zero_optimization", {}).get("stage", 0)
    return f"zero-{stage}{'-by-layer' if groups_by_layer(config) else ''}"


def can_read(written: str, layout: str) -> bool:
    """Tell whether one layout's checkpoint can be gone on with under another.

    ZeRO-1 and -2 shard the same states; ZeRO-3 writes the weights in shards too, and DeepSpeed's
    universal checkpoints keep that difference (0.19).
    """
    return written == layout or {written, layout} == {"zero-1", "zero-2"}
