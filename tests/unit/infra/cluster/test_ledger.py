"""Proves that what does not fit waits, that idle holders leave, and that errors name holders."""

from __future__ import annotations

import threading
import time

import pytest

from infra.cluster.ledger import Need, Reservation, ResourceLedger
from infra.errors import ClusterError

CLUSTER = Need(2, 1)
ENGINE = Need(0.5, 1)


def capacity() -> Need:
    return CLUSTER


def nobody_leaves() -> bool:
    return False


def take(
    ledger: ResourceLedger, holder: str, need: Need = ENGINE, timeout_s: float = 0.0
) -> Reservation:
    return ledger.take(holder, need, capacity, nobody_leaves, timeout_s)


def test_what_fits_side_by_side_is_given_at_once() -> None:
    ledger = ResourceLedger()
    take(ledger, "teacher")
    take(ledger, "tokenizers", Need(1.5, 0))
    with pytest.raises(ClusterError, match="in use by teacher, tokenizers"):
        take(ledger, "one more", Need(0.1, 0))


def test_an_idle_holder_leaves_for_what_does_not_fit() -> None:
    ledger = ResourceLedger()
    teacher = take(ledger, "teacher")
    left: list[str] = []

    def evict() -> bool:
        if left:
            return False
        left.append("teacher")
        ledger.release(teacher)
        return True

    judge = ledger.take("judge", ENGINE, capacity, evict, 0.0)
    assert left == ["teacher"]
    assert ledger.reservations == [judge]


def test_a_holder_in_use_is_waited_for() -> None:
    ledger = ResourceLedger()
    teacher = take(ledger, "teacher")
    began = time.monotonic()
    threading.Timer(0.2, ledger.release, [teacher]).start()
    judge = take(ledger, "judge", timeout_s=30.0)
    assert time.monotonic() - began >= 0.2
    assert ledger.reservations == [judge]


def test_more_than_the_cluster_has_is_given_to_whoever_is_alone_for_it_may_grow() -> None:
    ledger = ResourceLedger()
    large = take(ledger, "large", Need(1, 8))
    with pytest.raises(ClusterError, match=r"no room for judge \(0.5 CPUs, 1 GPUs\)"):
        take(ledger, "judge")
    ledger.release(large)
    ledger.release(large)
    take(ledger, "judge")


def test_places_add_up_without_crumbs() -> None:
    ledger = ResourceLedger()
    for number in range(20):
        take(ledger, str(number), Need(0.1, 0.05))
