"""Proves what people hear of Ray: no greetings, and at once that no cluster is there."""

from __future__ import annotations

import inspect
import logging
import socket
from collections.abc import Iterator

import pytest

from infra.cluster.session import RayConfig, knock_at, silence_greetings
from infra.errors import ConfigError

_WORKER = "ray._private.worker"
_TOKENS = "ray._private.authentication.authentication_token_setup"


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What comes through the two loggers once greetings are silenced."""
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    ear, loggers = Ear(), [logging.getLogger(name) for name in (_WORKER, _TOKENS)]
    for logger in loggers:
        logger.addHandler(ear)
    silence_greetings()
    silence_greetings()
    yield lines
    for logger in loggers:
        logger.removeHandler(ear)
        for silencer in list(logger.filters):
            logger.removeFilter(silencer)


def test_ray_s_word_on_its_token_is_silenced(
    heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself says it here, so that a Ray with other words is noticed."""
    from ray._private.authentication import authentication_token_setup as tokens

    tokens._warn_token_auth_enabled()
    assert heard == []
    tokens._warn_token_auth_disabled()
    assert len(heard) == 1  # a cluster that anybody may use is no greeting


def test_ray_s_word_on_threads_is_silenced(heard: list[str]) -> None:
    from ray._private import worker

    said = "SIGTERM handler is not set because current thread "
    assert said in inspect.getsource(worker.init)
    logging.getLogger(_WORKER).warning(f"{said}is not the main thread.")
    assert heard == []


def test_whatever_else_ray_warns_of_is_heard(heard: list[str]) -> None:
    logging.getLogger(_WORKER).warning("The object store is nearly full.")
    logging.getLogger(_TOKENS).error("The token could not be written.")
    assert heard == ["The object store is nearly full.", "The token could not be written."]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:9", "nobody answers there"),
        ("ray://127.0.0.1:9", "nobody answers there"),
        ("127.0.0.1:odd", "'odd' is no port"),
        ("127.0.0.1:99999", "'99999' is no port"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(address: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        knock_at(address)


def test_who_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock_at(f"127.0.0.1:{server.getsockname()[1]}")
    knock_at("auto")


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "auto"),
        ("ray://head:10001", "ray://head:10001"),
        ("http://127.0.0.1:8265", None),  # a dashboard, as `ray job submit` is told
        ("local", None),
        ("", None),
    ],
)
def test_rays_own_variable_says_which_cluster_is_joined(
    said: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", said)
    assert RayConfig().address == address
    assert RayConfig(address="10.0.0.2:6379").address == "10.0.0.2:6379"
