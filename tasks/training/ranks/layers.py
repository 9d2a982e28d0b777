"""Treats a model layer by layer where that saves memory or time: optimiser steps, recomputing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LAYER = re.compile(r"^(.*?\.\d+)\.")


def group_by_layer(optimizer: Any, model: Any) -> None:
    """Split an optimiser's parameter groups so that each holds parameters of one layer at most.

    What lies in no layer (embeddings, head, last norm) is a group each. The settings of a group
    stay those of the group it came from. To be called before the first step, for states would stay
    behind; ZeRO-1 and -2 then hold the fp32 gradient of one layer at a time.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        layers: dict[str, list[Any]] = {}
        for parameter in group["params"]:
            name = names[id(parameter)]
            found = _LAYER.match(name)
            layers.setdefault(found[1] if found else name, []).append(parameter)
        groups += [{**group, "params": parameters} for parameters in layers.values()]
    optimizer.param_groups[:] = groups


def keep_activations(model: Any, layers: int) -> int:
    """Have the first layers keep their activations though the model recomputes; return how many.

    Each kept layer saves a forward pass of its own and costs its activations. Backward passes
    begin at the last layer: kept activations of the first ones live longest, and all the same
    amount of them is there when memory is fullest, at the end of the forward pass.
    """
    found = _list_layers(model)[:layers]
    for layer in found:
        layer.gradient_checkpointing = False
    return len(found)


@contextmanager
def restored_recomputing(model: Any) -> Iterator[None]:
    """Have every layer recompute afterwards as before: TRL's generation has all or none do it."""
    before = [(layer, layer.gradient_checkpointing) for layer in _list_layers(model)]
    try:
        yield
    finally:
        for layer, recomputes in before:
            layer.gradient_checkpointing = recomputes


def _list_layers(model: Any) -> list[Any]:
    """Return the layers of a model that can recompute their activations, first to last."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
