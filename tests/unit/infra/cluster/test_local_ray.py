"""Proves that what is set for a Ray of one machine is set for it alone, its token guarded."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cluster.local_ray import guard_token, keep_to_loopback, tame_driver

SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def test_the_switch_is_set_for_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    with keep_to_loopback():
        assert os.environ[SWITCH] == "0"
    assert SWITCH not in os.environ


def test_who_has_set_it_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    with keep_to_loopback():
        assert os.environ[SWITCH] == "1"
    assert os.environ[SWITCH] == "1"


def test_ray_knows_itself_by_the_loopback_address() -> None:
    """Ray itself is asked, so that a Ray without the switch is noticed."""
    code = (
        "from infra.cluster.local_ray import keep_to_loopback\n"
        "with keep_to_loopback():\n"
        "    import ray\n"
        "print(ray.util.get_node_ip_address())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "127.0.0.1"


def test_a_driver_keeps_its_handler_and_starts_no_ray_by_a_call() -> None:
    code = (
        "import os, signal\n"
        "from infra.cluster.local_ray import tame_driver\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('heard'))\n"
        "with tame_driver():\n"
        "    import ray\n"
        "from ray._private import ray_constants\n"
        "print(ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER)\n"
        "print([name for name in os.environ if name in ('RAY_ENABLE_AUTO_CONNECT',"
        " 'RAY_DISABLE_FAILURE_SIGNAL_HANDLER')])\n"
        "try:\n"
        "    ray.nodes()\n"
        "except ray.exceptions.RaySystemError:\n"
        "    print('not started')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["True", "[]", "not started", "heard", ""]


def test_a_driver_that_was_told_otherwise_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "1")
    with tame_driver():
        assert os.environ["RAY_ENABLE_AUTO_CONNECT"] == "1"
    assert os.environ["RAY_ENABLE_AUTO_CONNECT"] == "1"


def test_nobody_else_reads_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    with guard_token():
        token.write_text("secret")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    with guard_token():
        pass


def test_a_home_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    with guard_token():
        pass
