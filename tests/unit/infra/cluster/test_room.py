"""Proves that what does not fit waits, that idle holders leave, and that errors name holders."""

from __future__ import annotations

import threading
import time

import pytest

from infra.cluster.room import Need, Place, Room
from infra.errors import ClusterError

CLUSTER = Need(2, 1)
ENGINE = Need(0.5, 1)


def capacity() -> Need:
    return CLUSTER


def nobody_leaves() -> bool:
    return False


def take(room: Room, holder: str, need: Need = ENGINE, timeout_s: float = 0.0) -> Place:
    return room.take(holder, need, capacity, nobody_leaves, timeout_s)


def test_what_fits_side_by_side_is_given_at_once() -> None:
    room = Room()
    take(room, "teacher")
    take(room, "tokenizers", Need(1.5, 0))
    with pytest.raises(ClusterError, match="in use by teacher, tokenizers"):
        take(room, "one more", Need(0.1, 0))


def test_an_idle_holder_leaves_for_what_does_not_fit() -> None:
    room = Room()
    teacher = take(room, "teacher")
    left: list[str] = []

    def evict() -> bool:
        if left:
            return False
        left.append("teacher")
        room.leave(teacher)
        return True

    judge = room.take("judge", ENGINE, capacity, evict, 0.0)
    assert left == ["teacher"]
    assert room.places == [judge]


def test_a_holder_in_use_is_waited_for() -> None:
    room = Room()
    teacher = take(room, "teacher")
    began = time.monotonic()
    threading.Timer(0.2, room.leave, [teacher]).start()
    judge = take(room, "judge", timeout_s=30.0)
    assert time.monotonic() - began >= 0.2
    assert room.places == [judge]


def test_more_than_the_cluster_has_is_given_to_whoever_is_alone_for_it_may_grow() -> None:
    room = Room()
    large = take(room, "large", Need(1, 8))
    with pytest.raises(ClusterError, match=r"no room for judge \(0.5 CPUs, 1 GPUs\)"):
        take(room, "judge")
    room.leave(large)
    room.leave(large)
    take(room, "judge")


def test_places_add_up_without_crumbs() -> None:
    room = Room()
    for number in range(20):
        take(room, str(number), Need(0.1, 0.05))
