"""Proves what an engine batches by its device, and that no worker runs further ahead than that."""

from __future__ import annotations

import pytest

from infra.engines.batch_sizes import BatchSizes, choose_batch_sizes, choose_window
from infra.engines.config import ModelConfig
from infra.engines.identity import pin_model
from infra.engines.vllm.server import engine_arguments


@pytest.mark.parametrize(
    ("gpu_gib", "sizes"),
    [
        (139.8, BatchSizes(1024, 16384)),
        (79.2, BatchSizes(1024, 16384)),  # a card of 80 GB
        (47.4, BatchSizes(256, 8192)),
        (9.6, BatchSizes(256, 8192)),  # a slice of a large one
        (None, BatchSizes(256, 8192)),
    ],
)
def test_a_device_decides_what_nobody_has_said(gpu_gib: float | None, sizes: BatchSizes) -> None:
    assert choose_batch_sizes(ModelConfig(model="m"), gpu_gib=gpu_gib) == sizes


def test_what_is_said_is_taken_and_a_step_is_never_smaller_than_vllm_takes() -> None:
    said = ModelConfig(model="m", max_num_seqs=16, max_num_batched_tokens=512)
    assert choose_batch_sizes(said, gpu_gib=80.0) == BatchSizes(16, 512)
    many = ModelConfig(model="m", max_num_seqs=9000)
    assert choose_batch_sizes(many, gpu_gib=24.0).tokens == 9000
    long = ModelConfig(model="m", max_model_len=32768)
    assert choose_batch_sizes(long, gpu_gib=None).tokens == 32768  # prompts are not cut on CPUs
    assert choose_batch_sizes(long, gpu_gib=24.0).tokens == 8192


@pytest.mark.torch
def test_an_engine_is_always_told_both() -> None:
    given = engine_arguments(ModelConfig(model="/m"), on_cpu=False, gpu_gib=140.0)
    assert (given["max_num_seqs"], given["max_num_batched_tokens"]) == (1024, 16384)
    given = engine_arguments(ModelConfig(model="/m"), on_cpu=True, gpu_gib=140.0)
    assert (given["max_num_seqs"], given["max_num_batched_tokens"]) == (256, 8192)


def test_they_are_no_part_of_what_a_model_is() -> None:
    plain, tuned = (
        ModelConfig(model="configs/demo/base", max_num_seqs=count) for count in (None, 7)
    )
    assert pin_model(plain).knob_values("identity") == pin_model(tuned).knob_values("identity")
    assert plain.knob_values("selection") == tuned.knob_values("selection")


@pytest.mark.parametrize(
    ("sequences", "cache", "context", "window"),
    [
        (64, 1_000_000, 2048, 80),  # the engine's batch and a quarter in its queue
        (1024, 400_000, 8192, 1280),
        (256, 23_000, 8192, 179),  # a small cache
        (256, 1_000, 64, 15),  # rows cannot be longer than the context
        (256, 100, 8192, 1),
        (256, 0, 8192, 320),  # an engine that does not say
    ],
)
def test_a_window_holds_what_the_engine_batches_and_its_cache_has_room_for(
    sequences: int, cache: int, context: int, window: int
) -> None:
    assert choose_window(sequences, cache, context) == window
