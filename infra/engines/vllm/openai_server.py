"""Runs vLLM's OpenAI-compatible server for one model as a process of its own, in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx

from infra.cluster.gpu_memory import read_gpu_gib
from infra.engines.config import ModelConfig
from infra.engines.cpu_threads import bind_engine
from infra.engines.model_facts import find_model_facts
from infra.engines.vllm.forking import BORN_TO_FORK, can_fork, describe_birth, is_cpu_build
from infra.engines.vllm.last_words import explain_start
from infra.engines.vllm.sampler import settle_sampler
from infra.engines.vllm.server import engine_arguments
from infra.errors import ConfigError, EngineError, Problem
from infra.secrets.secrets import Secret

_MODULE = "infra.engines.vllm.openai_host"
_LOOK_EVERY_S = 0.25
_GRACE_S = 30.0
_LOG_BYTES = 1 << 15
_LOG_LINES = 12
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Which model is served, under which name and address."""

    model: ModelConfig
    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Return the address clients use, up to and with the version."""
        host = _ANYWHERE.get(self.host, self.host)
        return f"http://{host}:{self.port}/v1"

    def command(self, *, on_cpu: bool) -> list[str]:
        """Return the command line of the server; it holds no key."""
        flags: list[str] = []
        gpu_gib = None if on_cpu else read_gpu_gib()
        arguments = engine_arguments(self.model, on_cpu=on_cpu, gpu_gib=gpu_gib)
        for name, value in {**arguments, "served_model_name": self.name}.items():
            flags.extend(_write_flag(name, value))
        return [
            *(sys.executable, "-m", _MODULE, *flags),
            *("--host", self.host, "--port", str(self.port)),
        ]


class OpenAiServer:
    """One server process, as a context manager: started inside, gone afterwards.

    Its log goes to ``log``, or to standard error.
    """

    def __init__(
        self, plan: ServerPlan, key: Secret | None = None, log: Path | None = None
    ) -> None:
        self.plan = plan
        self._key, self._log = key, log
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._lock = threading.Lock()

    def __enter__(self) -> OpenAiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process; :class:`ConfigError` if its port is taken.

        Fetching its model may take minutes: if it is told to stop meanwhile, nothing is started.
        """
        _check_port(self.plan)
        settle_sampler()
        on_cpu = is_cpu_build()
        if on_cpu:
            shape = find_model_facts(self.plan.model)
            bind_engine(shape.parameters if shape else None)
        born = {**describe_birth(), BORN_TO_FORK: "1"} if can_fork() else {}
        environment: dict[str, str] = {**os.environ, "VLLM_NO_USAGE_STATS": "1", **born}
        if self._key is not None:  # not an argument: those show in the list of processes
            environment["VLLM_API_KEY"] = self._key.reveal()
        command = self.plan.command(on_cpu=on_cpu)
        opened = self._log.open("wb") if self._log is not None else nullcontext(sys.stderr)
        with self._lock, opened as log:
            if self._stopping:
                return
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for us; we stop it in order
            )

    def close(self) -> None:
        """Stop the process in order, or at once if that takes long; again does nothing."""
        self.stop()
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        # Of a server that was killed its engine may be left, which is of its group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Have the waits below return; safe inside a signal handler."""
        self._stopping = True

    def await_ready(self) -> bool:
        """Wait until the server answers; false if it was told to stop before.

        Raises :class:`EngineError` if it ends before it is ready.
        """
        health = self.plan.address.removesuffix("/v1") + "/health"
        while not self._stopping:
            self._check_alive("ended before it was ready")
            with suppress(httpx.TransportError):
                if httpx.get(health, timeout=2, trust_env=False).status_code == 200:
                    return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def await_end(self) -> None:
        """Wait until told to stop; :class:`EngineError` if the server ends by itself."""
        while not self._stopping:
            self._check_alive("ended")
            time.sleep(_LOOK_EVERY_S)

    def check_alive(self) -> None:
        """Raise :class:`EngineError` if the process has ended by itself."""
        self._check_alive("ended")

    def _check_alive(self, what: str) -> None:
        code = self._process.poll() if self._process is not None else None
        if code is None or self._stopping:
            return
        said = f"the server of {self.plan.model.model} {what} (exit code {code})"
        if self._log is None:
            raise EngineError(f"{said} → its log is above")
        log = self._log.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
        lines = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
        error = EngineError(f"{said}. Its log ends:\n{lines}")
        raise explain_start(self.plan.model.model, error, log)


@contextmanager
def stopping_on_signals(server: OpenAiServer) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly stop."""

    def stop(_: int, __: FrameType | None) -> None:
        server.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _write_flag(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", json.dumps(value) if isinstance(value, Mapping) else str(value)]


def _check_port(plan: ServerPlan) -> None:
    kind = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    with socket.socket(kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.host, plan.port))
        except OSError as error:
            raise ConfigError(
                Problem(
                    f"{plan.host}:{plan.port}",
                    f"cannot be listened at: {error.strerror}",
                    "choose another --port or --host",
                )
            ) from error
