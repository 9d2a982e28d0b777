"""Is what the fork server of these tests imports, and what its forks do."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import setproctitle

setproctitle.getproctitle()  # or no fork could set its own
IMPORTED_BY = os.getpid()
IMPORTED_WITH = [os.environ.get(name) for name in ("LD_PRELOAD", "OMP_NUM_THREADS")]


def describe(out: str) -> None:
    """Write down what a fork is."""
    print("to output", flush=True)
    print("to error", file=sys.stderr, flush=True)
    told = {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "imported_by": IMPORTED_BY,
        "imported_with": IMPORTED_WITH,
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
    }
    Path(out).with_suffix(".tmp").write_text(json.dumps(told), encoding="utf-8")
    Path(out).with_suffix(".tmp").rename(out)


def sleep(out: str) -> None:
    """Write down what a fork is, and stay."""
    describe(out)
    time.sleep(600)


def fork_again(out: str) -> None:
    """Be a fork that has a fork, as an engine core has its worker."""
    from infra.engines.vllm.forks import EngineFork

    os.environ["SET_SINCE"] = "by a fork"
    inner = EngineFork(target=sleep, args=(f"{out}.inner",))
    inner.start()
    sleep(out)


class Clerk:
    """Is an object that lives in a fork."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def tell(self) -> tuple[str, int, int]:
        """Say the name, and which process this is and which one imported."""
        return self._name, os.getpid(), IMPORTED_BY

    async def fall(self) -> None:
        """Die without a word."""
        os._exit(3)

    async def retire(self) -> None:
        """Be called last."""
