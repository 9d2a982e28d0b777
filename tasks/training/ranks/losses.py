"""Computes the loss to learn from and the loss on held-out rows, both per trained token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def score_trained_tokens_only() -> None:
    """Have TRL put only the tokens with loss through the vocabulary, on CPUs as on GPUs.

    TRL 1.16 leaves the others out where it has Triton kernels, and scores them all elsewhere, for
    devices that compile a kernel for each count of tokens; CPUs do not. In instruct data three
    tokens of four carry no loss.
    """
    from trl.trainer import utils

    utils._use_triton = lambda device: True


def score_log_probs_only() -> None:
    """Have TRL's head return log-probabilities alone, of which the loss is made.

    Beside them SFTTrainer has the entropy of every token reckoned and whether it is the likeliest:
    more passes over the vocabulary, for metrics that nothing here shows.
    """
    from trl.trainer import sft_trainer, utils

    sft_trainer.add_fused_lm_head = partial(_add_head, utils.add_fused_lm_head)


def _add_head(
    add: Callable[..., None], model: Any, *, outputs: tuple[str, ...], **rest: Any
) -> None:
    add(model, outputs=("log_probs",), **rest)


def compute_loss(trainer: Any, model: Any, inputs: dict[str, Any], trained: Any) -> Any:
    """Return the summed negative log-likelihood of a micro-batch over the step's trained tokens.

    ``trained`` counts those of all ranks and micro-batches of the step; gradients are averaged over
    ranks, so the loss is that many times larger. In nats; a scalar tensor on the model's device.
    The same as TRL's own to the last bit, without its metrics, each of which waits for the GPU
    after every micro-batch (`.item()`).
    """
    import torch

    if trainer.aux_loss_enabled:
        inputs = {**inputs, "output_router_logits": True}
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    loss = (-outputs.log_probs).sum() / torch.as_tensor(trained).clamp(min=1)
    loss = loss * trainer.accelerator.num_processes
    if trainer.aux_loss_enabled:
        balance = trainer.router_aux_loss_coef * outputs.aux_loss
        loss = loss + balance / trainer.current_gradient_accumulation_steps
    return loss


def measure_loss(trainer: Any, rows: Any, collate: Callable[..., dict[str, Any]]) -> float:
    """Return the mean loss of all trained tokens of all rows, whatever the number of ranks.

    transformers would average batches, whatever they weigh, and count the rows twice that fill up
    the last batch. Every rank runs as many forward passes as the others, as ZeRO-3 needs.
    """
    import torch

    ranks, rank = trainer.args.world_size, trainer.args.process_index
    size = trainer.args.per_device_eval_batch_size
    model = trainer.model_wrapped
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=trainer.args.device)
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for start in range(0, len(rows), size * ranks):
            mine = range(start + rank * size, min(start + (rank + 1) * size, len(rows)))
            batch = trainer._prepare_inputs(collate([rows[index] for index in mine or [0]]))
            output = model(**batch, use_cache=False, fused_lm_head=True)
            if mine:
                sums[0] -= output.log_probs.double().sum()
                sums[1] += output.label_mask.sum()
    model.train(was_training)
    total, count = trainer.accelerator.reduce(sums).tolist()
    return float(total / count)
