"""Tests the loss that training learns from, on a model of one small layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.training.ranks.losses import (
    compute_loss,
    score_log_probs_only,
    score_trained_tokens_only,
)
from tests.unit.training.small_llama import make_llama


def make_rows() -> tuple[Any, Any]:
    """Return ids and labels of two rows, of which four tokens carry a loss."""
    import torch

    ids = torch.arange(2 * 12).reshape(2, 12)
    labels = torch.full_like(ids, -100)
    labels[0, 7:10] = ids[0, 7:10]
    labels[1, 11] = ids[1, 11]
    return ids, labels


@pytest.mark.torch
def test_only_tokens_with_loss_go_through_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from trl.trainer import utils

    model = make_llama(1).eval()
    ids, labels = make_rows()
    logits = torch.log_softmax(model(input_ids=ids).logits[:, :-1], -1)
    kept = labels[:, 1:] != -100
    wanted = logits.gather(-1, ids[:, 1:, None])[..., 0][kept]

    monkeypatch.setattr(utils, "_use_triton", utils._use_triton)  # put back afterwards
    score_trained_tokens_only()
    scored: list[int] = []
    inner = utils._ChunkedLogProbFunction.apply

    def count(hidden: torch.Tensor, *rest: object) -> object:
        scored.append(len(hidden))
        return inner(hidden, *rest)

    monkeypatch.setattr(utils._ChunkedLogProbFunction, "apply", count)
    utils.add_fused_lm_head(model)
    with torch.no_grad():
        found = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs
    assert scored == [4]
    assert torch.allclose(found[kept], wanted, atol=1e-5)
    assert found[~kept].abs().sum() == 0


@pytest.mark.torch
def test_the_head_reckons_nothing_that_no_loss_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer import sft_trainer

    monkeypatch.setattr(sft_trainer, "add_fused_lm_head", sft_trainer.add_fused_lm_head)
    score_log_probs_only()
    score_log_probs_only()  # as a second training of a process would
    model = make_llama(1)
    sft_trainer.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    ids, labels = make_rows()
    found = model(input_ids=ids, labels=labels, fused_lm_head=True)
    assert found.log_probs is not None and found.entropy is None and found.is_top1 is None


@pytest.mark.torch
@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize("trained", [4, 9])
def test_the_loss_is_trls_own_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, ranks: int, trained: int
) -> None:
    """Its SFTTrainer's method computes the wanted one, with as much of a trainer as it asks for."""
    import torch
    from trl import SFTTrainer
    from trl.trainer.utils import add_fused_lm_head

    ids, labels = make_rows()
    counted = torch.tensor(trained)

    def learn(ours: bool) -> tuple[float, list[Any]]:
        model = make_llama(1)
        add_fused_lm_head(
            model, outputs=("log_probs",) if ours else ("log_probs", "entropy", "is_top1")
        )
        trainer = SimpleNamespace(
            model=model,
            aux_loss_enabled=False,
            compute_loss_func=None,
            label_smoother=None,
            args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=True),
            accelerator=SimpleNamespace(
                num_processes=ranks,
                parallelism_config=None,
                gather_for_metrics=lambda value: value,
            ),
            get_tp_size=lambda: 1,
            _metrics={"train": {"entropy": [], "mean_token_accuracy": []}},
            _total_train_tokens=0,
            _tp_size=1,
        )
        inputs = {"input_ids": ids, "labels": labels, "position_ids": torch.arange(12)[None]}
        if ours:
            loss = compute_loss(trainer, model, inputs, counted)
        else:
            loss = SFTTrainer.compute_loss(trainer, model, inputs, num_items_in_batch=counted)
        loss.backward()
        return loss.item(), [parameter.grad for parameter in model.parameters()]

    (mine, my_gradients), (theirs, their_gradients) = learn(ours=True), learn(ours=False)
    assert mine == theirs > 0
    assert all(map(torch.equal, my_gradients, their_gradients))


@pytest.mark.torch
def test_experts_are_kept_in_balance() -> None:
    """A mixture of experts adds its own loss, a share to each micro-batch of a step."""
    import torch

    ids, labels = make_rows()
    told: list[bool] = []

    def model(**inputs: Any) -> Any:
        told.append(inputs["output_router_logits"])
        return SimpleNamespace(log_probs=torch.tensor([-2.0, -4.0]), aux_loss=torch.tensor(8.0))

    trainer = SimpleNamespace(
        aux_loss_enabled=True,
        router_aux_loss_coef=0.5,
        current_gradient_accumulation_steps=4,
        accelerator=SimpleNamespace(num_processes=1),
    )
    loss = compute_loss(trainer, model, {"input_ids": ids, "labels": labels}, torch.tensor(3))
    assert float(loss) == 2.0 + 1.0 and told == [True]
