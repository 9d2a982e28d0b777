"""Chooses how much an engine batches at once, and how far ahead of it its worker runs."""

from __future__ import annotations

from dataclasses import dataclass

from infra.engines.config import ModelConfig

_LARGE_GIB = 70.0
"""Cards of 80 GB show less than that; vLLM draws its own line here too."""
_LARGE = (1024, 16384)
_SMALL = (256, 8192)
_QUEUE_AHEAD = 1.25
_LEAST_ROW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Sequences an engine batches at once, and tokens it handles in one step."""

    sequences: int
    tokens: int


def choose_batch_sizes(config: ModelConfig, *, gpu_gib: float | None) -> BatchSizes:
    """Return the knobs where they are given, and else what suits the device.

    ``gpu_gib`` is a GPU's memory; ``None`` stands for CPUs, and for a GPU that nothing is known
    of. vLLM wants no step to be smaller than the batch, nor, on CPUs, than the context, for there
    a prompt is not cut up: so a step that is chosen here is not.
    """
    sequences, tokens = _LARGE if gpu_gib is not None and gpu_gib >= _LARGE_GIB else _SMALL
    sequences = config.max_num_seqs or sequences
    tokens = max(tokens, sequences, config.max_model_len or 0 if gpu_gib is None else 0)
    return BatchSizes(sequences, config.max_num_batched_tokens or tokens)


def choose_window(sequences: int, kv_cache_tokens: int, context_tokens: int) -> int:
    """Return how many rows a worker keeps open: a few more than its engine batches at once.

    But no more than its KV cache has room for at 128 tokens a row, which is little for a row that
    shares its prompt's beginning with others: vLLM would begin more only to throw them out again.
    Rows of the full context, the safe measure, would leave an 8 B model on 80 GB 49 of them, where
    those of a usual length fill it with 600.
    """
    window = int(sequences * _QUEUE_AHEAD)
    if not kv_cache_tokens:
        return max(1, window)
    row = max(1, min(context_tokens, _LEAST_ROW_TOKENS))
    return max(1, min(window, kv_cache_tokens // row))
