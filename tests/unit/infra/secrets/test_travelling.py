"""Checks what of a driver's environment reaches the workers of a cluster."""

from __future__ import annotations

import os
import sys

import pytest
from ray import cloudpickle

from infra.secrets.travelling import make_carrier

DRIVER = {
    "AWS_ENDPOINT_URL": "http://first:9000",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "HF_TOKEN": "of-the-driver",
    "https_proxy": "http://proxy:1",
    "WANDB_API_KEY": "key",
    "OPENCHARACTER_CACHE_GIB": "100",
    "HOME": "/root",
    "PATH": "/bin",
}


def arrive(monkeypatch: pytest.MonkeyPatch, own: dict[str, str]) -> dict[str, str]:
    """Return a worker's environment once what travels was unpacked in its own.

    The worker's machine may not have the project at all, which others are to say.
    """
    carrier = make_carrier(DRIVER)
    assert carrier is not None
    packed = cloudpickle.dumps(carrier)
    monkeypatch.setitem(sys.modules, "infra.secrets.travelling", None)
    unpack = cloudpickle.loads(packed)
    monkeypatch.setattr(os, "environ", own)
    unpack()
    return own


def test_keys_tokens_proxies_and_trackers_travel_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = arrive(monkeypatch, {"HOME": "/home/other"})
    expected = {name: value for name, value in DRIVER.items() if name != "PATH"}
    assert found == {**expected, "HOME": "/home/other"}


def test_what_a_node_has_of_its_own_stays_but_for_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session token of another key would make the driver's keys invalid."""
    own = {"HF_TOKEN": "of-the-node", "AWS_SESSION_TOKEN": "old", "AWS_ACCESS_KEY_ID": "other"}
    found = arrive(monkeypatch, own)
    assert found["HF_TOKEN"] == "of-the-node"
    assert found["AWS_ACCESS_KEY_ID"] == "id" and "AWS_SESSION_TOKEN" not in found


def test_a_region_alone_takes_no_keys_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DRIVER, "AWS_ACCESS_KEY_ID")
    own = {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "own", "AWS_SESSION_TOKEN": "own"}
    found = arrive(monkeypatch, dict(own))
    assert found.items() >= {**own, "AWS_ENDPOINT_URL": "http://first:9000"}.items()


def test_where_nothing_is_set_ray_is_told_nothing() -> None:
    assert make_carrier({"HOME": "/root", "PATH": "/bin"}) is None
