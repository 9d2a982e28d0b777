"""Trains a tiny model on lessons made on the fly: Muon for matrices, AdamW for the rest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from configs.demo.world.lessons import Lesson

_PROMPT_WEIGHT = 0.1
_POOL_LESSONS = 1024
_WIDTH_STEP = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """How long and how fast a model learns."""

    tokens: int
    batch_tokens: int = 4000
    rate: float = 4e-3
    warmup: float = 0.02
    constant: float = 0.55
    final: float = 0.03
    max_length: int = 1024


@dataclass(frozen=True, slots=True)
class EncodedLesson:
    """Lesson as token ids and the loss weight of predicting each of them."""

    ids: list[int]
    weights: list[float]


def encode_lesson(lesson: Lesson, tokenizer: Any) -> EncodedLesson:
    """Tokenise prompt, answer and stop token as generation will see them."""
    chat = [{"role": item.role, "content": item.content} for item in lesson.messages]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(lesson.answer, add_special_tokens=False, return_offsets_mapping=True)
    weights = []
    for start, end in answer["offset_mapping"]:
        inside = [weight for a, b, weight in lesson.stress if start < b and end > a]
        weights.append(max(inside) if inside else lesson.weight)
    return EncodedLesson(
        ids=[*head, *answer["input_ids"], tokenizer.eos_token_id],
        weights=[_PROMPT_WEIGHT] * len(head) + weights + [1.0],
    )


def train(
    model: Any,
    tokenizer: Any,
    draw: Callable[[], Lesson],
    budget: Budget,
    *,
    report: Callable[[str], None],
    keep: Callable[[], None],
    keep_every_s: float = 300.0,
) -> None:
    """Train until the tokens are spent; ``keep`` is called now and then, and at the end."""
    import torch
    from torch.nn.functional import cross_entropy

    model.train()
    muon, adam = _make_optimizers(model, budget)
    seen, loss_mean = 0, math.nan
    began = kept = time.monotonic()
    for step, (ids, weights) in enumerate(_make_batches(draw, tokenizer, budget), start=1):
        scale = rate_at(seen / budget.tokens, budget)
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * scale
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        flat = logits.float().flatten(0, 1)
        wanted, weight = ids[:, 1:].flatten(), weights[:, 1:].flatten()
        losses = cross_entropy(flat, wanted, reduction="none")
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += int((weight > 0).sum())
        loss_mean = loss.item() if step == 1 else 0.95 * loss_mean + 0.05 * loss.item()
        now = time.monotonic()
        if step % 25 == 0:
            pace = seen / (now - began)
            report(
                f"step {step}: {seen:,}/{budget.tokens:,} tokens, loss {loss_mean:.4f}, "
                f"rate {scale:.2f}, {pace:,.0f} tokens/s, ETA {(budget.tokens - seen) / pace:.0f} s"
            )
        if now - kept > keep_every_s:
            keep()
            kept = now
        if seen >= budget.tokens:
            break
    keep()


def rate_at(done: float, budget: Budget) -> float:
    """Return the factor on the learning rate: warm-up, constant, then a linear fall."""
    if done < budget.warmup:
        return max(done / budget.warmup, 0.02)
    if done < budget.constant:
        return 1.0
    left = max(0.0, 1.0 - done) / (1.0 - budget.constant)
    return budget.final + (1.0 - budget.final) * left


def _make_optimizers(model: Any, budget: Budget) -> tuple[Any, Any]:
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(
        matrices, lr=budget.rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(rest, lr=budget.rate, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["base"] = budget.rate
    return muon, adam


def _make_batches(
    draw: Callable[[], Lesson], tokenizer: Any, budget: Budget
) -> Iterator[tuple[Any, Any]]:
    """Yield (ids, weights), shape (rows, length), rows of like length, padded with weight 0.

    Causal attention needs no mask for padding at the right end.
    """
    import random

    import torch

    shuffle = random.Random(0)
    while True:
        pool = [encode_lesson(draw(), tokenizer) for _ in range(_POOL_LESSONS)]
        pool = sorted((item for item in pool if len(item.ids) <= budget.max_length), key=_length)
        batches: list[list[EncodedLesson]] = [[]]
        for item in pool:
            if (len(batches[-1]) + 1) * _width([item]) > budget.batch_tokens:
                batches.append([])
            batches[-1].append(item)
        shuffle.shuffle(batches)
        for batch in batches:
            if not batch:
                continue
            # Few shapes: every new one costs the CPU's bf16 kernels a compilation and memory
            # (measured: 4,400 tokens/s fell to 2,200 over 20 minutes, at 6 GB).
            width = _width(batch)
            rows = budget.batch_tokens // width
            ids = torch.full((rows, width), tokenizer.pad_token_id)
            weights = torch.zeros((rows, width))
            for row, item in enumerate(batch):
                ids[row, : len(item.ids)] = torch.tensor(item.ids)
                weights[row, : len(item.ids)] = torch.tensor(item.weights)
            yield ids, weights


def _width(batch: list[EncodedLesson]) -> int:
    """Return the length of the longest lesson, rounded up, one more for the shifted target."""
    longest = max(map(_length, batch))
    return -(-(longest - 1) // _WIDTH_STEP) * _WIDTH_STEP + 1


def _length(item: EncodedLesson) -> int:
    return len(item.ids)
