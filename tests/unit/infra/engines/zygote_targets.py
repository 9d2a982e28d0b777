"""Is what the zygotes of these tests import, and what their hosts hold."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import setproctitle

from infra.engines.vllm.forking import fork_engine_processes
from infra.engines.vllm.server import EngineFacts
from infra.errors import EngineError
from infra.protocol import Completion, Request

setproctitle.getproctitle()  # or no fork could set its own
IMPORTED_BY = os.getpid()
IMPORTED_WITH = [os.environ.get(name) for name in ("LD_PRELOAD", "OMP_NUM_THREADS")]


class Clerk:
    """Is an object that lives in a host, and says what that is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: Any = None

    async def tell(self) -> dict[str, Any]:
        """Say what this process is, and write to its output and error."""
        print("to output", flush=True)
        print("to error", file=sys.stderr, flush=True)
        return {
            "name": self._name,
            "pid": os.getpid(),
            "group": os.getpgrp(),
            "imported_by": IMPORTED_BY,
            "imported_with": IMPORTED_WITH,
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
        }

    async def fork(self) -> int:
        """Have a process as an engine core has its worker, and return its number."""
        fork_engine_processes()
        self._worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        self._worker.start()
        pid: int = self._worker.pid
        return pid

    async def load(self) -> None:
        """Keep the loop busy, as a start does."""
        time.sleep(600)

    async def fall(self) -> None:
        """Die without a word."""
        os._exit(3)


class FakeServer:
    """Is a server without an engine."""

    def __init__(self, config: object) -> None:
        self._waiting: list[str] = []

    async def start(self) -> EngineFacts:
        """Say which process this is, in the place of the device."""
        if "OPENCHARACTER_TEST_REFUSES" in os.environ:
            raise EngineError("no such model")
        return EngineFacts("0", f"{os.getpid()} of {IMPORTED_BY}", 1, 1, 1, 1, 0.0)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Die at a request of this name."""
        if requests[0].request_id == "die":
            os._exit(3)
        self._waiting += [request.request_id for request in requests]

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Answer all at once."""
        waiting, self._waiting = self._waiting, []
        return [(name, Completion(name.upper(), "stop", 1, 1)) for name in waiting]

    async def stop(self) -> None:
        """Be called last."""
