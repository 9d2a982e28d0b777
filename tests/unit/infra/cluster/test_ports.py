"""Tests that ports are free, and none of those that systems give to every connection."""

from __future__ import annotations

import socket

import pytest

from infra.cluster.ports import find_port


def test_a_port_is_free_and_of_no_range_that_others_draw_from() -> None:
    found = {find_port() for _ in range(40)}
    assert len(found) > 30 and all(20_000 <= port < 32_000 for port in found)
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", find_port()))
        taken = server.getsockname()[1]
        drawn = iter([taken - 20_000, taken - 20_000, 5])
        monkeypatch.setattr("infra.cluster.ports.secrets.randbelow", lambda _: next(drawn))
        assert find_port() == 20_005


def test_where_all_are_in_use_the_system_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", find_port()))
        taken = server.getsockname()[1]
        monkeypatch.setattr("infra.cluster.ports.secrets.randbelow", lambda _: taken - 20_000)
        assert find_port() not in (0, taken)
