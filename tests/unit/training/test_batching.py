"""Tests how a global batch is split, and the order of rows over epochs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.cluster.devices import Devices, NodeDevices
from infra.errors import ConfigError
from tasks.training.config import TrainingConfig
from tasks.training.rows.batching import (
    StreamSampler,
    choose_ranks,
    count_steps,
    find_epoch_ends,
    least_ranks,
    list_ranks,
    order_epoch,
    plan_batches,
    stream_rows,
)


def make_config(**knobs: Any) -> TrainingConfig:
    return TrainingConfig(**{"max_length": 1000, "micro_batch_tokens": 4000, **knobs})


@given(
    share=st.integers(1, 200),
    ranks=st.integers(1, 16),
    tokens=st.integers(16, 300_000),
    length=st.integers(16, 8192),
)
def test_the_plan_always_works_off_the_whole_batch_within_the_tokens(
    share: int, ranks: int, tokens: int, length: int
) -> None:
    config = make_config(global_batch=share * ranks, micro_batch_tokens=tokens, max_length=length)
    plan = plan_batches(config, ranks)
    assert plan.ranks * plan.micro_batch * plan.accumulation == plan.global_batch == share * ranks
    assert plan.micro_batch == 1 or plan.micro_batch * length <= tokens
    larger = [n for n in range(plan.micro_batch + 1, share + 1) if share % n == 0]
    assert all(n * length > tokens for n in larger)


def make_devices(*nodes: tuple[float, int], expects_gpus: bool = False) -> Devices:
    made = tuple(NodeDevices(f"n{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes))
    return Devices(made, expects_gpus=expects_gpus)


@pytest.mark.parametrize(
    ("nodes", "batch", "ranks"),
    [
        (((8, 1),), 2, 1),  # the demo on one GPU
        (((2, 0),), 2, 2),  # and on two cores
        (((1, 0),), 2, 1),
        (((64, 0),), 64, 2),
        (((0.5, 0),), 64, 1),
        (((96, 8),), 64, 8),
        (((96, 8), (96, 8)), 64, 16),
        (((96, 6),), 64, 4),  # six cannot share 64 rows
        (((96, 8), (16, 0), (32, 3)), 66, 11),
        (((96, 8),), 1, 1),
    ],
)
def test_auto_takes_a_rank_a_gpu_or_two_on_cpus(
    nodes: tuple[tuple[float, int], ...], batch: int, ranks: int
) -> None:
    config = make_config(global_batch=batch)
    assert choose_ranks(config, make_devices(*nodes)) == ranks
    assert plan_batches(config, ranks).global_batch == batch


def test_a_step_can_be_split_over_these_and_no_other_ranks() -> None:
    assert list_ranks(make_config(global_batch=64)) == (1, 2, 4, 8, 16, 32, 64)
    assert list_ranks(make_config(global_batch=24, micro_batch=4)) == (1, 2, 3, 6)
    assert list_ranks(make_config(global_batch=1)) == (1,)


@given(batch=st.integers(1, 256), micro=st.none() | st.integers(1, 16), gpus=st.integers(1, 64))
def test_auto_never_chooses_what_cannot_be_split(batch: int, micro: int | None, gpus: int) -> None:
    config = make_config(global_batch=batch, micro_batch=micro)
    ranks = choose_ranks(config, make_devices((8, gpus)))
    assert 1 <= ranks <= gpus
    if micro is None or batch % micro == 0:
        assert plan_batches(config, ranks).ranks == ranks


def test_a_number_is_taken_as_it_is_and_neither_changes_what_is_trained() -> None:
    config = make_config(workers=3)
    assert choose_ranks(config, make_devices((8, 1))) == least_ranks(config) == 3
    assert least_ranks(make_config()) == 1
    assert make_config().knob_values("identity") == config.knob_values("identity")
    assert make_config().knob_values("selection") == config.knob_values("selection")


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5, None])
def test_workers_are_a_number_or_auto(workers: object) -> None:
    with pytest.raises(ValidationError, match="workers"):
        make_config(workers=workers)


def test_a_given_micro_batch_is_taken() -> None:
    plan = plan_batches(make_config(global_batch=24, micro_batch=3), 4)
    assert (plan.micro_batch, plan.accumulation) == (3, 2)


@pytest.mark.parametrize(
    ("knobs", "ranks", "told"),
    [
        ({"global_batch": 10}, 4, ["10 rows", "4 ranks", "multiple of 4", "workers to 2"]),
        ({"global_batch": 16, "micro_batch": 3}, 2, ["8 rows", "of 3", "divisor of 8"]),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused(
    knobs: dict[str, Any], ranks: int, told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_batches(make_config(**knobs), ranks)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "steps"),
    [(64, 2, 16, 8), (65, 2, 16, 9), (3, 1, 64, 1), (640, 0.1, 64, 1), (100, 1.5, 10, 15)],
)
def test_steps_cover_the_epochs(rows: int, epochs: float, batch: int, steps: int) -> None:
    assert count_steps(rows, epochs, batch) == steps


def test_epochs_end_where_their_last_row_was_learnt() -> None:
    assert find_epoch_ends(65, 2, 16) == (5, 9)
    assert find_epoch_ends(64, 3, 16) == (4, 8, 12)
    assert find_epoch_ends(100, 1.5, 10) == (10, 15)
    assert find_epoch_ends(3, 2, 64) == (1,)


@given(rows=st.integers(1, 60), seed=st.integers(0, 9), epochs=st.integers(1, 4))
def test_every_epoch_of_the_stream_is_all_rows_once(rows: int, seed: int, epochs: int) -> None:
    stream = list(stream_rows(rows, seed, rows * epochs))
    for epoch in range(epochs):
        part = stream[epoch * rows : (epoch + 1) * rows]
        assert part == order_epoch(rows, seed, epoch)
        assert sorted(part) == list(range(rows))


@given(rows=st.integers(1, 30), count=st.integers(0, 100))
def test_a_shorter_stream_is_the_beginning_of_a_longer_one(rows: int, count: int) -> None:
    assert list(stream_rows(rows, 3, count)) == list(stream_rows(rows, 3, 100))[:count]


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = {tuple(order_epoch(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_the_order_is_what_it_was_in_other_versions() -> None:
    assert order_epoch(8, 0, 0) == [5, 7, 2, 0, 4, 3, 6, 1]


def test_the_sampler_starts_anew_each_time() -> None:
    sampler = StreamSampler(5, 0, 12)
    assert len(sampler) == 12
    assert list(sampler) == list(sampler) == list(stream_rows(5, 0, 12))
