"""Tests what is done layer by layer: the groups of an optimiser, and kept activations."""

from __future__ import annotations

import pytest

from tasks.training.ranks.layers import (
    group_by_layer,
    keep_activations,
    restored_recomputing,
)
from tests.unit.training.small_llama import make_llama

pytestmark = pytest.mark.torch


def test_a_group_holds_one_layer_and_keeps_the_settings_of_its_group() -> None:
    import torch

    model = make_llama(3)
    norms = [value for name, value in model.named_parameters() if "norm" in name]
    rest = [value for name, value in model.named_parameters() if "norm" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}], lr=1e-3
    )
    group_by_layer(optimizer, model)
    names = {id(value): name for name, value in model.named_parameters()}
    found = [
        (
            group["weight_decay"],
            sorted({names[id(value)].rpartition("layers.")[2][:2] for value in group["params"]}),
        )
        for group in optimizer.param_groups
    ]
    assert [layers for decay, layers in found if decay] == [["mo"], ["0."], ["1."], ["2."], ["lm"]]
    assert [layers for decay, layers in found if not decay] == [["0."], ["1."], ["2."], ["mo"]]
    held = [value for group in optimizer.param_groups for value in group["params"]]
    assert len(held) == len({id(value) for value in held}) == len(norms) + len(rest)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}


def test_a_step_by_layer_is_the_same_step() -> None:
    import torch

    models = [make_llama(3), make_llama(3)]
    ids = torch.arange(12).reshape(1, 12)
    for model, by_layer in zip(models, (False, True), strict=True):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        if by_layer:
            group_by_layer(optimizer, model)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    one, other = (list(model.parameters()) for model in models)
    assert all(map(torch.equal, one, other))


@pytest.mark.parametrize(("kept", "passes"), [(0, 6), (1, 5), (3, 3), (9, 3)])
def test_a_layer_that_keeps_its_activations_runs_once(kept: int, passes: int) -> None:
    import torch

    model = make_llama(3).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert keep_activations(model, kept) == min(kept, 3)
    run: list[int] = []
    for place, layer in enumerate(model.model.layers):
        layer.input_layernorm.register_forward_hook(lambda *_, place=place: run.append(place))
    ids = torch.arange(12).reshape(1, 12)
    model(input_ids=ids, labels=ids).loss.backward()
    assert len(run) == passes
    assert all(run.count(place) == 1 for place in range(min(kept, 3)))


def test_generating_between_steps_leaves_kept_layers_kept() -> None:
    """TRL switches recomputing off for a generation, and on for all layers afterwards."""
    from accelerate import Accelerator  # type: ignore[import-untyped]
    from trl.models import unwrap_model_for_generation

    model = make_llama(3).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    keep_activations(model, 2)
    with restored_recomputing(model), unwrap_model_for_generation(model, Accelerator(cpu=True)):
        assert not any(layer.gradient_checkpointing for layer in model.model.layers)
    assert [layer.gradient_checkpointing for layer in model.model.layers] == [False, False, True]
