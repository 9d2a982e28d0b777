"""Runs short trainings on two ranks, forked from one process that has imported everything.

Importing torch, transformers, TRL and DeepSpeed takes a rank 15 s; forking takes none. The parent
of the ranks must not have computed anything yet, or OpenMP hangs in the children, so it is a
process of its own that only imports.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from infra.cluster.ports import find_port

_LIMIT_S = 120


class RankProcesses:
    """Is the process that forks ranks; ``run`` starts some, waits, and returns what they said."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()  # killed ranks leave some behind
        quiet = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "TMPDIR": self._scratch.name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **quiet},
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> RankProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._scratch.cleanup()

    def run(self, function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Any]:
        """Call a function on every rank; returns, rank by rank, its value or its exception.

        A rank that was killed leaves an exception too, and so do the others that waited for it.
        """
        assert self._process.stdin and self._process.stdout
        _send(self._process.stdin, (function, arguments, ranks))
        values: list[Any] = _receive(self._process.stdout)
        return values


def _send(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    pipe.write(struct.pack("!Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    return pickle.loads(pipe.read(struct.unpack("!Q", head)[0]))


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import accelerate  # type: ignore[import-untyped]  # noqa: F401
    import datasets  # noqa: F401
    import deepspeed.checkpoint.ds_to_universal
    import deepspeed.module_inject.auto_ep_layer
    import deepspeed.ops.triton_ops.autoep_fused_token_ops
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    import peft  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401
    import trl.trainer.sft_trainer  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import tasks.training.ranks.rank
    import tasks.training.ranks.trainer  # noqa: F401

    get_checkpoint_conversion_mapping("llama")  # built once a process, of very many patterns
    gc.freeze()  # or every rank would look through all that was imported for what can go

    while True:
        try:
            function, arguments, ranks = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, _run(function, arguments, ranks))


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], ranks: int) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        port = find_port()
        pids = []
        for rank in range(ranks):
            pid = os.fork()
            if pid == 0:
                _be_rank(function, arguments, rank, ranks, port, Path(folder))
            pids.append(pid)
        _await(pids)
        values = []
        for rank in range(ranks):
            path = Path(folder, str(rank))
            found = path.read_bytes() if path.is_file() else b""
            values.append(pickle.loads(found) if found else ChildProcessError(f"rank {rank} died"))
        return values


def _await(pids: list[int]) -> None:
    """Wait for all ranks; when one was killed, or time is up, kill the rest."""
    left, deadline = set(pids), time.monotonic() + _LIMIT_S
    while left:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            left.discard(pid)
        if (pid and status) or time.monotonic() > deadline:
            for other in left:
                os.kill(other, signal.SIGKILL)
        if not pid:
            time.sleep(0.01)


def _be_rank(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rank: int,
    ranks: int,
    port: int,
    folder: Path,
) -> None:
    import torch.distributed as dist

    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_TORCH_DEVICE="cpu",
    )  # fmt: skip
    status = 0
    try:
        dist.init_process_group("gloo")
        value = function(*arguments)
    except BaseException as error:
        value, status = error, 1
        import traceback

        traceback.print_exc()
    (folder / f"{rank}.tmp").write_bytes(pickle.dumps(value))
    (folder / f"{rank}.tmp").rename(folder / str(rank))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    from tests.contracts import rank_processes

    rank_processes._serve()
