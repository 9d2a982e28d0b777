"""Tests what the trainer does without a model: it refuses losses that are no numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tasks.training.ranks.trainer import (
    StepFacts,
    TrainingDiverged,
    last_losses,
    refuse_divergence,
    share_with_nobody,
)


def make_facts(loss: float, grad_norm: float) -> StepFacts:
    return StepFacts(
        step=7, loss=loss, learning_rate=1e-5, grad_norm=grad_norm, tokens=9, trained=4, slots=10
    )


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan)])
def test_a_loss_or_gradient_that_is_no_number_ends_the_training(loss: float, norm: float) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        refuse_divergence(make_facts(loss, norm), [2.5, 2.25])
    told = str(caught.value)
    assert "at step 7" in told and "losses before: 2.5, 2.25" in told
    assert "training.learning_rate" in told


def test_numbers_pass() -> None:
    refuse_divergence(make_facts(1e6, 0.0), [])


def test_the_last_losses_are_those_of_steps() -> None:
    history = [{"eval_loss": 9.0}, *({"loss": float(number)} for number in range(8))]
    assert last_losses(history) == [3.0, 4.0, 5.0, 6.0, 7.0]


@pytest.mark.torch
def test_a_lone_rank_is_not_wrapped_to_share_gradients(tmp_path: Path) -> None:
    import torch
    from accelerate import Accelerator  # type: ignore[import-untyped]
    from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
    from accelerate.utils import DistributedType  # type: ignore[import-untyped]
    from torch import distributed

    distributed.init_process_group("gloo", f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        accelerator = Accelerator(cpu=True)
        accelerator.state.distributed_type = DistributedType.MULTI_CPU
        model = torch.nn.Linear(2, 2)
        wrapped = accelerator.prepare(model)
        assert type(wrapped).__name__ == "DistributedDataParallel"
        share_with_nobody(accelerator)
        assert accelerator.prepare(torch.nn.Linear(2, 2)).__class__ is torch.nn.Linear
    finally:
        distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
