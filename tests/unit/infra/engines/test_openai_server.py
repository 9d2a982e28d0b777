"""Proves what a server is started with, and that no key shows there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engines.config import ModelConfig
from infra.engines.vllm.openai_server import OpenAiServer, ServerPlan
from infra.errors import ConfigError, EngineError

MODEL = ModelConfig(
    model="/models/x", max_num_seqs=8, cpu_kv_cache_gib=0.5, engine_args={"swap_space": 1}
)


def read_flags(command: list[str]) -> dict[str, str | None]:
    """Map each flag of a command line to its value, ``None`` where it is a switch."""
    flags: dict[str, str | None] = {}
    for word, following in zip(command, [*command[1:], "--"], strict=True):
        if word.startswith("--"):
            flags[word] = None if following.startswith("--") else following
    return flags


@pytest.mark.torch
def test_the_command_line_says_what_the_engine_pool_would() -> None:
    plan = ServerPlan(MODEL, "night", "127.0.0.1", 8123)
    command = plan.command(on_cpu=True)
    assert command[:3] == [sys.executable, "-m", "infra.engines.vllm.openai_host"]
    flags = read_flags(command)
    assert flags["--model"] == "/models/x"
    assert flags["--served-model-name"] == "night"
    assert (flags["--host"], flags["--port"]) == ("127.0.0.1", "8123")
    assert (flags["--max-num-seqs"], flags["--swap-space"]) == ("8", "1")
    assert flags["--kv-cache-memory-bytes"] == str(2**29)
    # A seeded request kills the CPU engine under chunked prefill.
    assert "--no-enable-chunked-prefill" in flags and "--enforce-eager" in flags
    assert json.loads(flags["--structured-outputs-config"] or "")["backend"] == "xgrammar"
    assert "--revision" not in flags and "--max-model-len" not in flags
    on_gpu = read_flags(plan.command(on_cpu=False))
    assert "--kv-cache-memory-bytes" not in on_gpu
    assert on_gpu["--gpu-memory-utilization"] == "0.9"
    assert not [word for word in command if "key" in word.lower()]


def test_clients_are_sent_to_an_address_they_can_reach() -> None:
    assert ServerPlan(MODEL, "x", "0.0.0.0", 1).address == "http://127.0.0.1:1/v1"
    assert ServerPlan(MODEL, "x", "10.0.0.1", 1).address == "http://10.0.0.1:1/v1"


def test_a_taken_port_is_told_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match="choose another --port"),
            OpenAiServer(ServerPlan(MODEL, "x", "127.0.0.1", port)),
        ):
            raise AssertionError("it started")


def make_dead_server(log: Path, text: str) -> OpenAiServer:
    """Return a server whose process has ended by itself, after it wrote this."""
    log.write_text(text)
    server = OpenAiServer(ServerPlan(MODEL, "x", "127.0.0.1", 1), log=log)
    server._process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    server._process.wait()
    return server


def test_a_log_that_nobody_sees_is_quoted_when_the_server_dies(tmp_path: Path) -> None:
    server = make_dead_server(tmp_path / "log", "ValueError: no such quantization\n")
    with pytest.raises(ConfigError, match="no such quantization"):
        server.check_alive()
    server = make_dead_server(tmp_path / "log", "Killed\n")
    with pytest.raises(EngineError, match=r"ended \(exit code 3\)\. Its log ends:\nKilled"):
        server.check_alive()
    server.stop()
    server.check_alive()  # it was told to
