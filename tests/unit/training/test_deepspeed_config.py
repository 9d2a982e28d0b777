"""Tests what DeepSpeed configurations may say, and what is filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from tasks.training.config import TrainingConfig
from tasks.training.ranks.deepspeed_config import (
    can_read,
    fill_deepspeed_config,
    groups_by_layer,
    load_deepspeed_config,
    name_layout,
)
from tasks.training.rows.batching import BatchPlan


def write(folder: Path, config: Any) -> str:
    path = folder / "own.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_plain_data_parallelism_needs_no_file() -> None:
    assert load_deepspeed_config("ddp") is None
    assert name_layout(None) == "ddp"


def test_what_the_knobs_say_is_filled_in(tmp_path: Path) -> None:
    own = {"zero_optimization": {"stage": 3}, "bf16": {"loss_scale": 1}, "gradient_clipping": 7}
    config = load_deepspeed_config(write(tmp_path, own))
    assert config is not None
    training = TrainingConfig(max_grad_norm=0.5, precision="bf16")
    filled = fill_deepspeed_config(config, training, BatchPlan(2, 4, 3))
    assert filled["train_batch_size"] == 24
    assert filled["train_micro_batch_size_per_gpu"] == 4
    assert filled["gradient_accumulation_steps"] == 3
    assert filled["gradient_clipping"] == 0.5
    assert filled["bf16"] == {"loss_scale": 1, "enabled": True}
    assert filled["zero_optimization"] == {"stage": 3}
    assert config == own
    fp32 = fill_deepspeed_config(config, TrainingConfig(precision="fp32"), BatchPlan(1, 1, 1))
    assert fp32["bf16"]["enabled"] is False


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"optimizer": {"type": "AdamW"}}, "training.adam_*"),
        ({"scheduler": {}}, "final_learning_rate"),
        ({"fp16": {"enabled": True}}, "training.precision"),
        ({"bf16": {"bf16_master_weights_and_grads": True}}, "discards 85 %"),
        ({"bf16": {"bf16_optimizer_states": True}}, "do not learn at small rates"),
        ({"parameter_groups": "by_tensor"}, "by_layer, or leave it out"),
        ([], "not an object"),
    ],
)
def test_what_would_contradict_or_harm_is_refused(tmp_path: Path, config: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.deepspeed") as caught:
        load_deepspeed_config(write(tmp_path, config))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "precision", "said", "wanted"),
    [
        (1, "bf16", None, None),
        (2, "bf16", None, "fp32"),
        (3, "bf16", None, "fp32"),
        (3, "bf16", "bf16", "bf16"),
        (1, "bf16", "fp32", "fp32"),
        (3, "fp32", "bf16", None),
    ],
)
def test_gradients_are_added_up_in_fp32_where_they_are_sharded(
    stage: int, precision: Any, said: str | None, wanted: str | None
) -> None:
    config: dict[str, Any] = {"zero_optimization": {"stage": stage}}
    if said is not None:
        config["data_types"] = {"grad_accum_dtype": said}
    training = TrainingConfig(precision=precision)
    filled = fill_deepspeed_config(config, training, BatchPlan(1, 1, 1))
    assert filled.get("data_types", {}).get("grad_accum_dtype") == wanted


def test_steps_by_layer_are_a_layout_of_their_own(tmp_path: Path) -> None:
    plain = {"zero_optimization": {"stage": 1}}
    by_layer = load_deepspeed_config(write(tmp_path, {**plain, "parameter_groups": "by_layer"}))
    assert groups_by_layer(by_layer) and not groups_by_layer(plain) and not groups_by_layer(None)
    assert name_layout(plain) == "zero-1" and name_layout(by_layer) == "zero-1-by-layer"
    assert not can_read("zero-1", name_layout(by_layer))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_deepspeed_config(write(tmp_path, {"optimizer": {}, "scheduler": {}}))
    assert len(caught.value.problems) == 2


def test_a_file_that_is_no_json_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        load_deepspeed_config(str(path))


def test_checkpoints_are_read_within_a_family() -> None:
    assert can_read("zero-1", "zero-2") and can_read("zero-3", "zero-3")
    assert not can_read("zero-3", "zero-2") and not can_read("ddp", "zero-1")
