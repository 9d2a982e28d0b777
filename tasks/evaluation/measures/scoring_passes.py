"""Runs the forward passes that score answers; what texts share at their beginning is run once.

Most of a role-play prompt is the character's profile, and a profile stands before many answers:
its own character's, and those of others that it is held against. Texts that begin alike are scored
as one prefix and many endings, which is the same sum in other batches. On two cores with 135 M
parameters and profiles of 180 tokens that takes two thirds of the time away.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from infra.errors import OpenCharacterError
from tasks.evaluation.measures.likelihood import AnswerIds

_CPU_BATCH_TOKENS = 1024
"""Measured with 3 M parameters on one core: 7.4 s, against 10.5 s in batches of 8,192."""

_GPU_BATCH_TOKENS = 16384

_LEAST_SHARED = 48
"""Tokens from which a common beginning is worth a pass of its own."""


class LikelihoodFailed(OpenCharacterError):
    """Stop of a measurement whose likelihoods are no numbers: the weights are broken."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that are scored in one pass, by their places; their first ``shared`` tokens are one's.

    Batches with the same beginning follow each other; 0 shares nothing.
    """

    places: tuple[int, ...]
    shared: int = 0


def plan_batches(
    texts: Sequence[AnswerIds], batch_tokens: int, *, share: bool = True
) -> Iterator[Batch]:
    """Group texts that begin alike, and cut the groups into batches of like length.

    A batch holds at most ``batch_tokens``, shared tokens and padding included, or one text that is
    longer. Groups and batches go down in length: what is too much for the memory fails at once and
    not at the end.
    """
    groups = _group(texts) if share else [(list(range(len(texts))), 0)]
    longest = [max((len(texts[place].ids) for place in places), default=0) for places, _ in groups]
    for number in sorted(range(len(groups)), key=lambda number: (-longest[number], number)):
        places, shared = groups[number]
        order = sorted(places, key=lambda place: (-len(texts[place].ids), place))
        first = 0
        while first < len(order):
            count = max(1, batch_tokens // len(texts[order[first]].ids))
            yield Batch(tuple(order[first : first + count]), shared)
            first += count


def score_texts(
    model: Any,
    texts: Sequence[AnswerIds],
    *,
    batch_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Return the log-likelihood (natural) of each answer: the sum over its tokens, in order.

    ``batch_tokens`` limits a batch, padding included; ``None`` suits the device. ``on_progress``
    is told how many of how many texts are done, after every batch. Raises
    :class:`LikelihoodFailed` where a sum is not finite.
    """
    import torch

    if batch_tokens is None:
        on_gpu = model.device.type == "cuda"
        batch_tokens = _GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS
    runner = _Passes(model)
    scores = [0.0] * len(texts)
    done = 0
    with torch.inference_mode():
        for batch in plan_batches(texts, batch_tokens, share=runner.can_share):
            found = runner.score([texts[place] for place in batch.places], batch.shared)
            for place, score in zip(batch.places, found, strict=True):
                scores[place] = score
            done += len(batch.places)
            if on_progress is not None:
                on_progress(done, len(texts))
    return scores


def _group(texts: Sequence[AnswerIds]) -> list[tuple[list[int], int]]:
    """Return groups of places and how many leading tokens the texts of each group share.

    In the order of their ids texts that begin alike are neighbours. A group ends where two
    neighbours share little, or less than half of what those before or after them share.
    """
    order = sorted(range(len(texts)), key=lambda place: texts[place].ids)
    common = [_count_common(texts[one], texts[other]) for one, other in pairwise(order)]
    groups: list[tuple[list[int], int]] = []
    for number, place in enumerate(order):
        with_last = common[number - 1] if number else 0
        with_next = common[number] if number < len(common) else 0
        places, shared = groups[-1] if groups else ([], 0)
        if with_last >= _LEAST_SHARED and 2 * with_last > max(shared, with_next):
            groups[-1] = ([*places, place], min(with_last, shared or with_last))
        else:
            groups.append(([place], 0))
    alone = sorted(place for places, shared in groups if not shared for place in places)
    together = [(places, shared) for places, shared in groups if shared]
    return [*together, (alone, 0)] if alone else together


def _count_common(one: AnswerIds, other: AnswerIds) -> int:
    """Return how many leading tokens two prompts share, but for their last.

    The pass over the endings must hold the place that tells an answer's first token.
    """
    most = min(one.start, other.start) - 1
    for place in range(most):
        if one.ids[place] != other.ids[place]:
            return place
    return max(most, 0)


class _Passes:
    """Forward passes of one model, with the keys and values of the latest shared beginning."""

    def __init__(self, model: Any) -> None:
        self._model = model
        names = inspect.signature(model.forward).parameters
        self._partial = "logits_to_keep" in names
        self._prefix: tuple[int, ...] = ()
        self._cache: Any = None
        self.can_share = "past_key_values" in names and self._keeps_all()

    def score(self, texts: Sequence[AnswerIds], shared: int) -> list[float]:
        """Return the answers' log-likelihoods; the vocabulary is only spread out where they are.

        Rows are padded on the right with their own last token. No mask is needed: what comes later
        is never seen by what is scored, and without a mask sdpa takes its fast causal kernel.
        """
        import torch

        width = len(texts[0].ids)
        rows = [[*text.ids[shared:], *[text.ids[-1]] * (width - len(text.ids))] for text in texts]
        inputs = torch.tensor(rows, device=self._model.device)
        known: dict[str, Any] = {"use_cache": False}
        if shared:
            cache = self._open_cache(texts[0].ids[:shared])
            cache.batch_repeat_interleave(len(texts))
            known = {"use_cache": True, "past_key_values": cache}
        # The logits at a place tell the token after it.
        first = min(text.start for text in texts) - 1 - shared
        if self._partial:
            # On the CPU, as the last layer may be on another GPU than the first.
            known["logits_to_keep"] = torch.arange(first, width - shared - 1)
        logits = self._model(input_ids=inputs, **known).logits
        if not self._partial:
            logits = logits[:, first : width - shared - 1]
        return _sum_answers(logits, texts, first + shared)

    def _keeps_all(self) -> bool:
        """Tell whether the model keeps plain keys and values of all that it has read.

        State-space layers, and windows that slide, keep something else.
        """
        import torch
        from transformers import DynamicCache

        probe = torch.zeros((1, 2), dtype=torch.long, device=self._model.device)
        with torch.inference_mode():
            output = self._model(input_ids=probe, use_cache=True)
        cache: Any = getattr(output, "past_key_values", None)
        return isinstance(cache, DynamicCache) and not any(cache.is_sliding)

    def _open_cache(self, prefix: tuple[int, ...]) -> Any:
        """Return the keys and values of a beginning, to be written on."""
        import torch

        if prefix != self._prefix:
            inputs = torch.tensor([prefix], device=self._model.device)
            none = {"logits_to_keep": 1} if self._partial else {}
            self._cache = self._model(input_ids=inputs, use_cache=True, **none).past_key_values
            self._prefix = prefix
        return copy.deepcopy(self._cache)


def _sum_answers(logits: Any, texts: Sequence[AnswerIds], first: int) -> list[float]:
    """Sum the log-likelihoods of the answers' tokens; ``logits`` begin at place ``first``."""
    import torch

    sums = []
    for row, text in enumerate(texts):
        said = torch.tensor(text.ids[text.start :], device=logits.device)
        # In fp32 and a row at a time: a batch of 128,000-word distributions would not fit.
        told = logits[row, text.start - 1 - first : len(text.ids) - 1 - first].float()
        gold = told.gather(-1, said[:, None]).squeeze(-1)
        sums.append((gold - told.logsumexp(-1)).double().sum())
    total: list[float] = torch.stack(sums).tolist()
    if not all(-float("inf") < score < float("inf") for score in total):
        raise LikelihoodFailed(
            "the model gives an answer no finite likelihood. Check its weights for NaN, and that"
            " its vocabulary covers the tokenizer's."
        )
    return total
