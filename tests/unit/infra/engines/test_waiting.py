"""Tests that an engine's processes sleep while they wait for each other, and are woken."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import zmq
from vllm.distributed.device_communicators import shm_broadcast

from infra.engines.vllm.waiting import sleep_while_waiting


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The two sides of a queue's wait, as they are once both have subscribed."""
    monkeypatch.setattr(shm_broadcast, "SpinCondition", shm_broadcast.SpinCondition)
    sleep_while_waiting()
    sleep_while_waiting()  # as a plugin is, that is loaded more than once
    context, address = zmq.Context(), f"ipc://{tmp_path}/told"
    writer = shm_broadcast.SpinCondition(is_reader=False, context=context, notify_address=address)
    reader = shm_broadcast.SpinCondition(is_reader=True, context=context, notify_address=address)
    yield writer, reader
    for side in (writer, reader):
        for name in ("local_notify_socket", "read_cancel_socket", "write_cancel_socket"):
            socket = getattr(side, name)
            if socket is not None:
                socket.close(0)
    context.term()


def count_looks(reader: Any, written: threading.Event) -> int:
    """Wait as vLLM's reader does, and return how often it looked for the message."""
    looks = 1
    while not written.is_set():
        reader.wait()
        looks += 1
    return looks


def send_later(writer: Any) -> threading.Event:
    written = threading.Event()

    def send() -> None:
        written.set()
        writer.notify()

    threading.Timer(0.5, send).start()
    return written


def test_who_waits_sleeps_until_the_other_side_has_written(sides: Any) -> None:
    writer, reader = sides
    reader._settled = 0.0
    assert count_looks(reader, send_later(writer)) <= 6


def test_until_both_have_subscribed_the_wait_is_vllms_own(sides: Any) -> None:
    writer, reader = sides
    assert count_looks(reader, send_later(writer)) > 100
