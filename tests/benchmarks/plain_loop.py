"""Trains in the plainest loop that PyTorch allows: the peer of our training at equal precision.

The same packed rows in the same order, AdamW on all weights in fp32, no framework around
it: forward pass, loss, backward pass, clipping, step. Threads are the process's own to set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.models.folders import fetch_model
from tasks.training.config import TrainingConfig
from tasks.training.rows.batching import StreamSampler
from tasks.training.rows.token_files import IGNORED, collate, open_rows
from tests.benchmarks.training_rows import DATA
from tests.benchmarks.training_sides import Figures, Setup, StepClock


def train_plain(setup: Setup) -> Figures:
    """Train on the packed token file as one process; the figures are those of our side."""
    import torch
    from transformers import AutoModelForCausalLM

    config = TrainingConfig.model_validate(setup.knobs)
    rows = open_rows(Path(setup.root, DATA, "train.arrow"))
    model = AutoModelForCausalLM.from_pretrained(
        fetch_model(setup.model), dtype=torch.float32, attn_implementation="sdpa", use_cache=False
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, config.adam_betas, weight_decay=0.0, fused=True
    )
    clock = StepClock()
    tokens = trained = slots = 0
    steps = len(rows) // config.global_batch
    order = list(StreamSampler(len(rows), config.seed, steps * config.global_batch))
    for step in range(steps):
        chosen = order[step * config.global_batch : (step + 1) * config.global_batch]
        batch = collate(
            [rows[number] for number in chosen],
            pad_id=int(model.config.eos_token_id),
        )
        loss = _measure_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        clock.note()
        kept = sum(len(rows[number]["input_ids"]) for number in chosen)
        tokens, slots = tokens + kept, slots + batch["input_ids"].numel()
        trained += int((batch["labels"][:, 1:] != IGNORED).sum())
    return Figures(
        steps=steps,
        tokens=tokens,
        trained_tokens=trained,
        padding_share=1 - tokens / slots,
        seconds=clock.seconds,
        weights="",
        knobs={"threads": torch.get_num_threads()},
        step_seconds=clock.step_seconds,
    )


def _measure_loss(model: Any, batch: dict[str, Any]) -> Any:
    """Return the mean loss over the trained tokens; only they go through the vocabulary."""
    import torch

    hidden = model.model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
    ).last_hidden_state
    targets = batch["labels"][:, 1:]
    kept = targets != IGNORED
    logits = model.lm_head(hidden[:, :-1][kept])
    return torch.nn.functional.cross_entropy(logits, targets[kept])
